"""Views, twins and in-place writes, recorded and not: random programs run by real torch and by the stand-in."""

import random

import numpy as np
import pytest
import torch as real

from hf_ascend import torch

REFUSALS = ("leaf Variable", "multiple views", "no_grad mode", "single memory location", "not compatible with input")


class Program:
    """A random sequence of operations, replayed step by step on one torch or the other.

    Each step is drawn from the shapes alone, so both sides take the same steps. `tensors` holds everything alive.
    """

    def __init__(self, t, seed, recorded):
        self.t, self.rng, self.recorded = t, random.Random(seed), recorded
        rng = np.random.default_rng(seed)
        self.leaves = [t.tensor(rng.standard_normal(s).astype(np.float32)) for s in ((3, 4), (2, 3, 4), (4,))]
        for x in self.leaves:
            x.requires_grad_(recorded)
        a, b, c = self.leaves
        plain = t.tensor(rng.standard_normal((4, 4)).astype(np.float32))
        self.tensors = [a * 1, b * 2, c + 1, plain]
        self.written = 0

    # ---- the operations: each takes a tensor and the random generator
    def _views(self, x):
        rng, d = self.rng, x.dim()
        at = rng.randrange(d) if d else 0
        yield "reshape", lambda: x.reshape(-1)
        yield "unsqueeze", lambda: x.unsqueeze(at)
        yield "squeeze", lambda: x.squeeze()
        yield "detach", lambda: x.detach()
        yield "data", lambda: x.data
        yield "ellipsis", lambda: x[..., None]
        yield "expand", lambda: x.expand(2, *x.shape)
        if d:
            yield "identity", lambda: x[:]
            n, size = x.shape[at], x.shape[at]
            i = rng.randrange(-n, n)
            k = rng.randint(1, n)
            yield "select", lambda: x.select(at, i)
            yield "index", lambda: x[i % x.shape[0]]
            yield "narrow", lambda: x.narrow(at, n - k, k)
            yield "slice", lambda: x[::2]
            yield "slices", lambda: x[(slice(None),) * at + (slice(k - 1, None),)]
            yield "unfold", lambda: x.unfold(at, k, 2)
            yield "split", lambda: x.split(max(1, size // 2), at)
            yield "chunk", lambda: x.chunk(2, at)
            yield "unbind", lambda: x.unbind(at)
            yield "flatten", lambda: x.flatten()
            yield "T", lambda: x.permute(*range(d - 1, -1, -1))
            yield "unflatten", lambda: x.unflatten(at, (n, 1))
            yield "view_dtype", lambda: x.detach().view(self.t.int32)
            yield "strided", lambda: x.as_strided((min(2, x.numel()),), (1,))
        if d > 1:
            yield "mT", lambda: x.mT
            yield "transpose", lambda: x.transpose(0, at)
            yield "diagonal", lambda: x.diagonal(0, 0, 1)
            yield "movedim", lambda: x.movedim(0, -1)
            yield "view", lambda: x.view(-1, 1) if x.is_contiguous() else x.contiguous().view(-1, 1)
        if d and x.shape[-1] == 2:
            yield "complex", lambda: self.t.view_as_real(self.t.view_as_complex(x.clone().contiguous()))

    def _writes(self, x):
        rng = self.rng
        other = rng.choice([y for y in self.tensors if y.dtype == self.t.float32])
        number = rng.choice([0.5, 2.0, -1.5])
        mean = lambda: other.mean()  # noqa: E731
        yield "mul_", lambda: x.mul_(number)
        yield "add_", lambda: x.add_(mean())
        yield "iadd", lambda: x.__iadd__(number)
        yield "imul", lambda: x.__imul__(mean())
        yield "sub_", lambda: x.sub_(1)
        yield "div_", lambda: x.div_(2)
        yield "fill_", lambda: x.fill_(number)
        yield "zero_", lambda: x.zero_()
        yield "copy_", lambda: x.copy_(mean().expand(x.shape))
        yield "clamp_", lambda: x.clamp_(-2, 2)
        yield "neg_", lambda: x.neg_()
        yield "masked_fill_", lambda: x.masked_fill_(x.detach() > 0.5, number)
        if x.dim():
            i = rng.randrange(x.shape[0])
            yield "set", lambda: x.__setitem__(i, number)
            yield "set_tensor", lambda: x.__setitem__(slice(None, None, 2), mean())
            yield "set_mask", lambda: x.__setitem__(x.detach() > 0, number)
            yield "set_list", lambda: x.__setitem__(([i, 0],) if i else ([0],), mean())
            yield "index_fill_", lambda: x.index_fill_(0, self.t.tensor([i]), number)
            yield "index_copy_", lambda: x.index_copy_(0, self.t.tensor([i]), x[i : i + 1].detach() * number)
        if x.dim() > 1:
            yield "set_slices", lambda: x.__setitem__((slice(None), 0), mean())
            yield "set_none", lambda: x.__setitem__((Ellipsis, -1), x.detach()[..., 0] * 3)

    def step(self):
        """Take one step. Returns what it was, or raises what torch raises."""
        rng = self.rng
        x = self.tensors[rng.randrange(len(self.tensors))]
        writes = rng.random() < 0.45
        quiet = self.recorded and writes and rng.random() < 0.2
        pick = rng.random()
        choices = list(self._writes(x) if writes else self._views(x))
        name, run = choices[int(pick * len(choices))]
        drop = rng.random() < 0.15 and len(self.tensors) > 6
        dropped = rng.randrange(4, len(self.tensors)) if drop else None
        if writes and (x.dtype != self.t.float32 or overlaps(x)):
            return "nothing"
        if quiet:
            with self.t.no_grad():
                made = run()
        else:
            made = run()
        if not writes:
            parts = list(made) if isinstance(made, (tuple, list)) else [made]
            self.tensors += [p for p in parts[:2] if p.numel()]
        if dropped is not None:
            del self.tensors[dropped]
        return ("no_grad " if quiet else "") + name

    def gradients(self):
        """The leaves' gradients of a sum over everything alive that has one."""
        wanted = [x for x in self.tensors if x.requires_grad]
        if not wanted:
            return []
        total = sum((x * x * (i + 1)).sum() for i, x in enumerate(wanted))
        total.backward()
        return [x.grad for x in self.leaves]


def overlaps(x):
    """Whether x is expanded: torch refuses most writes, and warns of what it will refuse."""
    return any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True))


def same(a, b, where):
    np.testing.assert_allclose(
        np.asarray(a.detach()), b.detach().numpy(), rtol=2e-4, atol=1e-5, err_msg=where, equal_nan=True
    )


def run(seed, recorded, steps=14):
    """Run one program on both; returns how many of its steps torch carried out, and whether its backward pass ran."""
    ours, theirs = Program(torch, seed, recorded), Program(real, seed, recorded)
    trace = []
    for done in range(steps):
        state = theirs.rng.getstate()
        try:
            name = theirs.step()
        except RuntimeError as error:
            if not any(r in str(error) for r in REFUSALS):
                raise
            return done, False
        ours.rng.setstate(state)
        assert ours.step() == name
        trace.append(name)
        where = f"seed {seed}, after {trace}"
        assert len(ours.tensors) == len(theirs.tensors)
        for i, (a, b) in enumerate(zip(ours.tensors, theirs.tensors, strict=True)):
            assert tuple(a.shape) == tuple(b.shape), where
            same(a, b, f"tensor {i} of {where}")
            try:
                wanted = b.requires_grad
            except RuntimeError as error:
                if not any(r in str(error) for r in REFUSALS):
                    raise
                return done, False
            assert a.requires_grad == wanted, f"requires_grad of tensor {i} of {where}"
    try:
        want = theirs.gradients()
    except RuntimeError as error:
        if not any(r in str(error) for r in (*REFUSALS, "modified by an inplace operation")):
            raise
        return steps, False
    got = ours.gradients()
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert (a is None) == (b is None), f"gradient {i}, seed {seed}, after {trace}"
        if b is not None:
            same(a, b, f"gradient {i}, seed {seed}, after {trace}")
    return steps, bool(want)


@pytest.mark.parametrize("block", range(4))
def test_random_programs_without_recording(block):
    done = [run(seed, False)[0] for seed in range(block * 40, block * 40 + 40)]
    assert np.mean(done) > 7  # refusals are few


@pytest.mark.parametrize("block", range(8))
def test_random_programs_with_recording(block):
    results = [run(seed, True) for seed in range(block * 40, block * 40 + 40)]
    assert sum(backward for _, backward in results) >= 8  # enough of them end in a backward pass


def both(run):
    """What `run` gives with either torch, as nested lists."""

    def plain(x):
        if isinstance(x, (list, tuple)):
            return [plain(v) for v in x]
        return x.detach().tolist() if hasattr(x, "detach") else x

    got, want = plain(run(torch)), plain(run(real))
    assert got == want
    return got


def test_views_and_twins_taken_before_a_recorded_write_see_it():
    def run(t):
        x = t.arange(4.0, requires_grad=True)
        y = x * 1
        v, w, d = y[0], y.view(2, 2)[1], y.detach()
        y.mul_(2)
        w.add_(5)
        (y * y).sum().backward()
        return y, v, w, d, x.grad, v.requires_grad, d.requires_grad

    both(run)


def test_the_gradient_of_an_earlier_view_flows_through_the_write():
    def run(t):
        x = t.arange(6.0, requires_grad=True)
        y = (x * 1).view(2, 3)
        v, last = y[0], y[:, 2].unsqueeze(0)
        y *= t.tensor([[1.0], [3.0]])
        last.copy_(x[:2] * 7)
        (v * v).sum().backward(retain_graph=True)
        first = x.grad.clone()
        last.sum().backward()
        return v, last, first, x.grad

    both(run)


def test_data_of_a_parameter_takes_a_tensor_with_a_graph():
    def run(t):
        p, q = t.nn.Parameter(t.zeros(3)), t.nn.Parameter(t.ones(3))
        p.data.copy_(q * 2)
        p.data[0] = q[0] * 5
        half = p.data
        half.mul_(q)
        half.mul_(q + 1)
        return p, half

    assert both(run)[0] == [10.0, 4.0, 4.0]


def test_assigning_data_keeps_the_gradient_and_the_hooks():
    def run(t):
        p, seen = t.nn.Parameter(t.zeros(2)), []
        p.register_hook(lambda g: seen.append(g.tolist()))
        (p * 3).sum().backward()
        p.data -= 0.5
        p.data = p.data + t.ones(2)
        (p * 2).sum().backward()
        return p, p.grad, seen

    both(run)


def test_a_plain_buffer_takes_in_what_has_a_graph_and_arrays_on_it_see_that():
    def run(t):
        memory = np.zeros(4, np.float32)
        buffer, w = t.from_numpy(memory), t.ones(2, requires_grad=True)
        row = buffer.view(2, 2)[1]
        row.copy_(w * 3)
        buffer[0] = w[0] * 4
        buffer.sum().backward()
        return buffer, row, w.grad

    both(run)
    memory = np.zeros(2, np.float32)
    torch.from_numpy(memory).add_(torch.ones(2, requires_grad=True))
    assert memory.tolist() == [1, 1]


def test_an_operator_in_place_keeps_what_its_gradient_needs():
    def run(t):
        w, x = t.full((3,), 2.0, requires_grad=True), t.tensor([1.0, 2.0, 3.0])
        x.mul_(w)
        x /= w * 4
        x.sum().backward()
        return x, w.grad

    both(run)


KINDS = {
    "unfold": lambda y: y.unfold(0, 3, 3),
    "as_strided": lambda y: y.as_strided((2, 3), (8, 2), 1),
    "diagonal": lambda y: y.view(4, 6).diagonal(1),
    "T": lambda y: y.view(4, 6).T,
    "mT": lambda y: y.view(2, 3, 4).mT,
    "movedim": lambda y: y.view(2, 3, 4).movedim(0, 2),
    "slices": lambda y: y.view(4, 6)[1:3, ::2],
    "new axis": lambda y: y.unflatten(0, (2, 12))[..., None, 3:],
    "narrow": lambda y: y.view(4, 6).t().unsqueeze(0).squeeze(0).narrow(0, 2, 2),
    "swapaxes": lambda y: y.view(4, 6).swapaxes(0, 1)[3],
    "flatten": lambda y: y.view(1, 24, 1).squeeze(-1).flatten()[20:],
    "of a transpose": lambda y: y.view(4, 6).T.unflatten(0, (2, 3))[1],
    "select": lambda y: y.view(4, 6).select(1, -2),
    "split": lambda y: y.view(4, 6).split(4, 1)[1],
    "chunk": lambda y: y.view(4, 6).chunk(2, 1)[1],
    "unbind": lambda y: y.view(4, 6).unbind(1)[1],
    "tensor_split": lambda y: y.view(4, 6).tensor_split((1, 3), 1)[1],
}
SEVERAL = ("split", "chunk", "unbind", "tensor_split")


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_write_through_a_view_reaches_base_siblings_and_twins(kind, recorded):
    def run(t):
        x = t.arange(24.0, requires_grad=recorded)
        y = x * 1
        sibling, twin, v = y.view(6, 4)[2], y.detach(), KINDS[kind](y)
        if recorded and kind in SEVERAL:  # torch forbids to write to one of several views
            y.mul_(3)
        else:
            v.mul_(3)
        sibling.add_(100)
        out = [y, sibling, twin, v]
        if recorded:
            (y * y + y).sum().backward()
            out.append(x.grad)
        return out

    both(run)


def test_writes_through_complex_views():
    def run(t, recorded):
        x = t.arange(8.0, requires_grad=recorded)
        pairs = (x * 1).view(4, 2)
        c = t.view_as_complex(pairs)
        if not recorded:
            c.real[1] = -5
            c.imag = t.zeros(4)
            t.view_as_real(c)[3, 0] = 77
            return pairs, t.view_as_real(c)
        pairs.mul_(2)
        out = t.view_as_real(c)
        (out[:, 0] * out[:, 1]).sum().backward()
        return pairs, out, x.grad

    both(lambda t: run(t, False))
    both(lambda t: run(t, True))


def test_bit_views_share_memory():
    def run(t):
        x = t.tensor([[1.0, -2.0], [0.5, 8.0]])
        bits, halves = x.view(t.int32), x[1:].view(t.int16)
        brain = t.ones(4, dtype=t.bfloat16)
        raw = brain.view(t.int16)
        raw[1] = 0
        bits[0, 0] ^= 1 << 31
        halves[0, 1] = 0
        return x, bits, halves, raw, brain.float()

    both(run)
    with pytest.raises(RuntimeError, match="divisible by 2"):
        torch.ones(3).view(torch.float64)


def test_leaves_and_their_views_refuse_recorded_writes():
    for t in (torch, real):
        x = t.ones(2, 2, requires_grad=True)
        for write in (
            lambda x=x: x.mul_(2), lambda x=x: x.__setitem__(0, 1.0), lambda x=x: x.zero_(),
            lambda x=x: x.unsqueeze_(0), lambda x=x: x.normal_(), lambda x=x: x[0].mul_(2),
            lambda x=x: x.T.__setitem__(0, 1.0),
        ):  # fmt: skip
            with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
                write()
        assert x.tolist() == [[1, 1], [1, 1]]
        with t.no_grad():
            x[0].mul_(2)
        assert x.tolist() == [[2, 2], [1, 1]]


def test_expanded_tensors_refuse_writes():
    for t in (torch, real):
        x = t.zeros(3)
        for y in (x.expand(2, 3), (x.clone().requires_grad_() * 1).expand(2, 3)):
            with pytest.raises(RuntimeError, match="single memory location"):
                y.add_(1)


def test_as_strided_stays_inside_the_memory():
    for t in (torch, real):
        with pytest.raises(RuntimeError, match="out of bounds for storage"):
            t.zeros(6).as_strided((3, 3), (3, 1))


def test_second_derivatives_through_a_recorded_write():
    def run(t):
        x = t.tensor([1.0, 2.0, 3.0], requires_grad=True)
        y = x**3
        v = y[1:]
        v *= x[:2]
        y[0] = x[2] ** 2
        (g,) = t.autograd.grad(y.sum() + (v * v).sum(), x, create_graph=True)
        (gg,) = t.autograd.grad(g.sum(), x)
        return g, gg

    both(run)


def test_a_backward_pass_that_needs_overwritten_values_fails():
    for t in (torch, real):
        w = t.ones(3, requires_grad=True)
        y = w * 2
        z = (y * y).sum()
        with t.no_grad():
            y.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.backward()
        (w * 3).sum().backward()  # recording goes on
        assert w.grad.tolist() == [3, 3, 3]


def test_shape_changing_writes_and_arrays_on_the_old_memory():
    def run(t):
        x = t.arange(6.0)
        x.unsqueeze_(0)
        x.t_()
        y = x.requires_grad_() * 2
        y.squeeze_()
        v = y[1:3]
        y.mul_(2)
        return x, y, v, tuple(x.detach().numpy().shape)

    both(run)


def test_an_array_outlives_the_tensor_that_moved_away():
    x = torch.ones(100_000, requires_grad=True) * 2
    array = x.detach().numpy()
    for _ in range(5):
        x.mul_(2)
        filler = [torch.full((100_000,), 9.0) for _ in range(4)]
    assert len(filler) == 4
    assert set(array.tolist()) == {2.0}
    assert x[0].item() == 64.0


def test_views_without_end_leave_nothing_behind():
    w = torch.nn.Parameter(torch.ones(4, 4))
    for _ in range(200):
        assert w.T.shape == (4, 4)
        assert w.detach()[0].shape == (4,)
    assert len(w.__dict__["_kin"]) <= 40


def test_half_precision_views_with_a_graph():
    def run(t):
        x = t.arange(8.0, requires_grad=True)
        y = (x * 1).to(t.bfloat16)
        v, d = y[2:5], y.detach()
        y[3] = 9
        v.mul_(2)
        y.float().sum().backward()
        return y.float(), v.float(), d.float(), x.grad

    both(run)


def test_recorded_writes_free_the_memory_they_leave():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096 / 2**20

    x = torch.ones(1000, 1000, requires_grad=True)
    before = None
    for i in range(204):
        y = x * 1
        y.mul_(2)
        y[0] = x[1]
        y.sum().backward()
        x.grad = None
        before = resident() if i == 4 else before
    assert resident() - before < 250  # 200 rounds of 4 MB, less what the C library may keep unused (runtime/heap.py)


def test_repeated_rows_do_not_share_memory():
    found = []
    for t in (real, torch):
        a = t.ones(1, 3, requires_grad=True)
        rows = (a * 2).repeat(4, 1)
        rows[t.tensor([1, 2])] = t.zeros(2, 3) * a
        rows.sum().backward()
        found.append((rows.tolist(), a.grad.tolist()))
    assert found[1] == found[0]


@pytest.mark.parametrize("make", [lambda t: t.nn.Parameter(t.ones(3)), lambda t: t.ones(3, requires_grad=True)])
def test_a_clone_of_a_leaf_is_part_of_the_graph(make):
    for t in (real, torch):
        leaf = make(t)
        copy = leaf.clone()
        assert not copy.is_leaf
        assert not isinstance(copy, t.nn.Parameter)
        copy.mul_(2).sum().backward()
        assert leaf.grad.tolist() == [2, 2, 2]
        assert leaf.tolist() == [1, 1, 1]
