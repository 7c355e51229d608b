"""A hub on loopback: the endpoints that huggingface_hub calls, over a local folder.

`root/<user>/<name>/<revision>/...` holds the files. What was asked for is kept in `log`. Uploads go the way of git LFS;
the client must have Xet switched off (HF_HUB_DISABLE_XET=1).
"""

import base64
import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".msgpack", ".h5")
"""File names that go to large file storage, as a repository's .gitattributes would say."""


class Hub(ThreadingHTTPServer):
    """Serves until closed.

    `private`: repository -> the token it wants. `cut`: file -> a byte to stop at, once. `writers`: token -> the user
    whose repositories it may write. `drops`: (method, part of a path) -> how many uploads there to break off.
    """

    daemon_threads = True

    def __init__(self, root: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.private: dict[str, str] = {}
        self.cut: dict[str, int] = {}
        self.writers: dict[str, str] = {}
        self.drops: dict[tuple[str, str], int] = {}
        self.objects: dict[str, bytes] = {}
        self.log: list[dict[str, Any]] = []
        self.writing = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def requests(self, method: str, ending: str, status: int | None = None) -> list[dict[str, Any]]:
        """The logged requests of a method whose path ends so."""
        return [
            r for r in self.log
            if r["method"] == method and r["path"].endswith(ending) and status in (None, r["status"])
        ]  # fmt: skip

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""


def commit(folder: Path) -> str:
    """A revision's hash."""
    number = _number(folder)
    return hashlib.sha1((str(folder) + (number.read_text() if number.exists() else "")).encode()).hexdigest()


def _number(folder: Path) -> Path:
    """Where the count of a revision's commits is kept."""
    return folder.parent / ".commits" / folder.name


def files_of(folder: Path) -> dict[str, bytes]:
    """Name -> content of all files of a revision."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        entry = {"method": self.command, "path": urlsplit(self.path).path, "status": status}
        self.server.log.append(entry | {"range": self.headers.get("Range")})
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, status: int, what: Any, headers: dict[str, str] | None = None) -> None:
        self._answer(status, json.dumps(what).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message or code}
        self._answer(status, b"", headers)

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _revision(self, repo: str, revision: str) -> Path | None:
        base = self.server.root / repo
        kept = base / ".old"
        found = [p for p in base.iterdir() if not p.name.startswith(".") and revision in (p.name, commit(p))]
        return found[0] if found else (kept / revision if (kept / revision).is_dir() else None)

    # ---- reading
    def do_HEAD(self) -> None:  # noqa: N802
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802
        parts = [unquote(p) for p in urlsplit(self.path).path.strip("/").split("/")]
        if parts == ["api", "whoami-v2"]:
            self._whoami()
            return
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        repo, rest = "/".join(parts[:2]), parts[2:]
        wanted = self.server.private.get(repo)
        if not (self.server.root / repo).is_dir() or (wanted and self._token() != wanted):
            self._refuse(401, "RepoNotFound")
            return
        folder = self._revision(repo, rest[1] if len(rest) > 1 else "main")
        if folder is None:
            self._refuse(404, "RevisionNotFound")
        elif api:
            self._info(repo, folder, rest[0] if rest else "")
        else:
            self._file(folder, folder.joinpath(*rest[2:]))

    def _whoami(self) -> None:
        user = self.server.writers.get(self._token())
        if user is None:
            self._refuse(401, "InvalidToken", "Invalid user token.")
        else:
            self._json(200, {"type": "user", "name": user, "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def _info(self, repo: str, folder: Path, what: str) -> None:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        names = [str(p.relative_to(folder)) for p in files]
        if what == "tree":
            found: Any = [
                {"type": "file", "path": n, "size": p.stat().st_size, "oid": "0"}
                for n, p in zip(names, files, strict=True)
            ]
        else:
            found = {"id": repo, "modelId": repo, "sha": commit(folder), "siblings": [{"rfilename": n} for n in names]}
            found |= {"private": False, "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
        self._json(200, found)

    def _file(self, folder: Path, file: Path) -> None:
        headers = {"X-Repo-Commit": folder.name if folder.parent.name == ".old" else commit(folder)}
        headers["Accept-Ranges"] = "bytes"
        if not file.is_file():
            self._answer(404, b"", headers | {"X-Error-Code": "EntryNotFound"})
            return
        data = file.read_bytes()
        headers["ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'
        begin, status = 0, 200
        if asked := self.headers.get("Range"):
            begin, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        stop = self.server.cut.pop(file.name, None) if self.command == "GET" else None
        if stop is None:
            self._answer(status, data[begin:], headers | {"Content-Length": str(len(data) - begin)})
            return
        self._answer(status, data[begin:stop], headers | {"Content-Length": str(len(data) - begin)})
        self.wfile.flush()
        self.close_connection = True

    # ---- writing
    def _body(self) -> bytes | None:
        """What was sent, or None when the connection is to break in the middle of it."""
        path = urlsplit(self.path).path
        for (method, part), left in self.server.drops.items():
            if left and method == self.command and part in path:
                self.server.drops[method, part] = left - 1
                self.rfile.read(min(100, int(self.headers.get("Content-Length") or 100)))
                self.server.log.append({"method": method, "path": path, "status": 0, "range": None})
                self.close_connection = True
                return None
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _writable(self, repo: str) -> bool:
        """Whether the token may write there; refuses the request otherwise."""
        user = self.server.writers.get(self._token())
        if user is None:
            self._refuse(401, "InvalidToken", "Invalid username or password.")
        elif repo.split("/")[0] != user:
            self._refuse(403, "Forbidden", f"You don't have the rights to write to {repo}.")
        return user is not None and repo.split("/")[0] == user

    def do_PUT(self) -> None:  # noqa: N802
        body = self._body()
        if body is None:
            return
        oid = self.path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid:
            self._refuse(400, "BadDigest", "the content is not what its name says")
            return
        self.server.objects[oid] = body
        self._answer(200)

    def do_POST(self) -> None:  # noqa: N802
        body = self._body()
        if body is None:
            return
        parts = [unquote(p) for p in urlsplit(self.path).path.strip("/").split("/")]
        if parts == ["api", "validate-yaml"]:
            self._json(200, {"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif parts[:2] == ["api", "models"] and len(parts) == 6:
            repo, (what, revision) = "/".join(parts[2:4]), parts[4:]
            if self._writable(repo):
                {"preupload": self._preupload, "commit": self._commit, "branch": self._branch}[what](
                    repo, revision, body
                )
        elif parts[2:5] == ["info", "lfs", "objects"]:
            repo = f"{parts[0]}/{parts[1].removesuffix('.git')}"
            if self._writable(repo):
                self._batch(repo, json.loads(body))
        else:
            self._answer(404)

    def _create(self, asked: dict[str, Any]) -> None:
        user = self.server.writers.get(self._token(), "")
        repo = f"{asked.get('organization') or user}/{asked['name']}"
        if not self._writable(repo):
            return
        folder = self.server.root / repo / "main"
        status = 409 if folder.parent.is_dir() else 200
        folder.mkdir(parents=True, exist_ok=True)
        self._json(status, {"url": f"{self.server.url}/{repo}", "name": repo})

    def _preupload(self, repo: str, revision: str, body: bytes) -> None:
        folder = self._revision(repo, revision)
        if folder is None:
            self._refuse(404, "RevisionNotFound")
            return
        out = []
        for asked in json.loads(body)["files"]:
            file, large = folder / asked["path"], asked["path"].endswith(LARGE)
            data = file.read_bytes() if file.is_file() else None
            known = hashlib.sha256(data).hexdigest() if large and data else None
            if data is not None and not large:
                known = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            mode = "lfs" if large else "regular"
            out.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": known})
        self._json(200, {"files": out})

    def _batch(self, repo: str, asked: dict[str, Any]) -> None:
        out = []
        for o in asked["objects"]:
            entry = {"oid": o["oid"], "size": o["size"]}
            if o["oid"] not in self.server.objects:
                entry["actions"] = {"upload": {"href": f"{self.server.url}/{repo}.git/lfs/{o['oid']}"}}
            out.append(entry)
        self._json(200, {"transfer": "basic", "objects": out})

    def _branch(self, repo: str, branch: str, body: bytes) -> None:
        base = self.server.root / repo
        if (base / branch).is_dir():
            self._json(409, {"error": "Reference already exists"})
            return
        shutil.copytree(base / "main", base / branch)
        self._json(200, {})

    def _commit(self, repo: str, revision: str, body: bytes) -> None:
        """All files of a commit appear at once, and the earlier commit can still be asked for by its hash."""
        folder = self.server.root / repo / revision
        lines = [json.loads(line) for line in body.splitlines()]
        with self.server.writing:
            new = folder.parent / ".new"
            shutil.copytree(folder, new)
            for line in lines:
                value = line["value"]
                file = new / value.get("path", "")
                if line["key"] == "file":
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(base64.b64decode(value["content"]))
                elif line["key"] == "lfsFile":
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(self.server.objects[value["oid"]])
                elif line["key"] == "deletedFile":
                    file.unlink()
            kept = folder.parent / ".old" / commit(folder)
            kept.parent.mkdir(exist_ok=True)
            folder.rename(kept)
            new.rename(folder)
            number = _number(folder)
            number.parent.mkdir(exist_ok=True)
            number.write_text(str(int(number.read_text() if number.exists() else 0) + 1))
        oid = commit(folder)
        self._json(200, {"commitUrl": f"{self.server.url}/{repo}/commit/{oid}", "commitOid": oid})
