"""Writes instructions.jsonl: questions about hf_ascend in several phrasings, each fact with one answer.

    python examples/data/make_instructions.py

A fact with a name (of a command, a setting, something in Python) has three questions written by hand that do not say
the name, and the phrasings of its kind, which do. A fact without a name has eight questions of its own. The last
phrasing of a kind and the last question of a fact (the last two where it has no name) are the split "test", never
trained on.
"""

import json
from pathlib import Path

FILE = Path(__file__).with_name("instructions.jsonl")

# The last of each is held out.
PHRASINGS = {
    "command": (
        "What does {} do?",
        "What is {} for?",
        "Explain the command {}.",
        "When do I use {}?",
        "Can you tell me what {} is good for?",
    ),
    "setting": (
        "What does {} mean?",
        "What happens when I set {}?",
        "Explain the setting {}.",
        "Why would I set {}?",
        "Can you tell me what effect {} has?",
    ),
    "python": (
        "What is {}?",
        "What does {} give me?",
        "Explain {} in hf_ascend.",
        "When do I need {}?",
        "Can you tell me what {} is good for?",
    ),
}

# (kind, name, answer, questions); the last question is held out.
NAMED = (
    (
        "command",
        "`hf-ascend env`",
        "`hf-ascend env` prints the versions that are installed, the device with the reason for choosing it, and "
        "whether this combination is tested.",
        (
            "How do I see which versions of MindSpore and transformers are installed?",
            "Which command shows whether my installation is a tested combination?",
            "Where can I look up why the CPU was chosen as the device?",
        ),
    ),
    (
        "command",
        "`hf-ascend env --json`",
        "`hf-ascend env --json` prints the environment report as JSON, so that a program can read it.",
        (
            "How do I get the environment report in a form that a program can read?",
            "Which option makes the environment report machine readable?",
            "My script must parse the environment report. What do I call?",
        ),
    ),
    (
        "command",
        "`hf-ascend run script.py`",
        "`hf-ascend run script.py` runs a script written for torch and transformers on MindSpore, unchanged, together "
        "with the modules beside it.",
        (
            "How do I run my training script without changing a line?",
            "Which command executes an unmodified PyTorch script on MindSpore?",
            "I do not want to edit my imports. How can I start my script?",
        ),
    ),
    (
        "command",
        "`hf-ascend run -m module`",
        "`hf-ascend run -m module` runs a module as `python -m` does, with torch and transformers on MindSpore.",
        (
            "What is the counterpart of `python -m` in hf_ascend?",
            "How do I start an installed module instead of a script file?",
            "My program is started with `python -m`. How do I start it on MindSpore?",
        ),
    ),
    (
        "command",
        "`hf-ascend run --retarget NAME`",
        "`hf-ascend run --retarget NAME` takes in one more installed package, so that its imports of torch go to "
        "MindSpore too.",
        (
            "How do I make another installed library use MindSpore as well?",
            "My script needs a package that imports torch itself. How do I redirect that package?",
            "How can I add one more package to those that are redirected?",
        ),
    ),
    (
        "command",
        "`hf-ascend generate`",
        "`hf-ascend generate` streams a model's answer to one prompt; it takes folders, hub ids and GGUF files.",
        (
            "How do I get the answer to a single prompt from the command line?",
            "Which command generates text from a GGUF file?",
            "I have one prompt and a model folder. How do I print the answer?",
        ),
    ),
    (
        "command",
        "`hf-ascend generate --raw`",
        "`hf-ascend generate --raw` continues the prompt as it is, without applying the chat template.",
        (
            "How do I generate text without the chat template?",
            "Which option continues my prompt exactly as it is written?",
            "The chat template gets in my way. How do I leave it out?",
        ),
    ),
    (
        "command",
        "`hf-ascend chat`",
        "`hf-ascend chat` holds a conversation with a model, streamed, and shows the tokens per second after each "
        "answer.",
        (
            "How do I talk with a model over several turns?",
            "Which command shows tokens per second during a conversation?",
            "I would like to have a conversation in the terminal. What do I call?",
        ),
    ),
    (
        "command",
        "`/clear`",
        "`/clear` forgets the conversation in `hf-ascend chat` and begins a new one; the system message stays.",
        (
            "How do I begin a new conversation without leaving the chat?",
            "How can the model forget what I said in the chat?",
            "What do I type in the chat to start over?",
        ),
    ),
    (
        "command",
        "`hf-ascend coverage`",
        "`hf-ascend coverage` counts how many of the torch names that transformers uses are native, fall back to "
        "PyTorch, or are missing.",
        (
            "How do I find out how many torch operators are native?",
            "Which command counts the torch names that are missing?",
            "How much of the torch API is there? Where can I see the numbers?",
        ),
    ),
    (
        "command",
        "`hf-ascend conformance`",
        "`hf-ascend conformance` compares tiny models of every architecture with PyTorch and resumes where the last "
        "run stopped.",
        (
            "How do I compare every architecture with PyTorch?",
            "Which command runs the sweep over all supported models?",
            "I want proof that all architectures match PyTorch. What do I run?",
        ),
    ),
    (
        "command",
        "`hf-ascend conformance --model FOLDER`",
        "`hf-ascend conformance --model FOLDER` compares your own checkpoint with PyTorch, submodule by submodule, "
        "and says where the two part.",
        (
            "How do I compare my own checkpoint with PyTorch?",
            "My model gives other results than PyTorch. How do I find the submodule?",
            "Which command checks a checkpoint of mine layer by layer?",
        ),
    ),
    (
        "command",
        "`hf-ascend conformance --sample`",
        "`hf-ascend conformance --sample` compares only those entries that the test suite runs, which is much faster "
        "than the whole catalogue.",
        (
            "How do I run a small part of the conformance catalogue?",
            "Which option compares only the entries of the test suite?",
            "The whole sweep takes too long. Is there a faster one?",
        ),
    ),
    (
        "command",
        "`hf-ascend conformance --only-failed`",
        "`hf-ascend conformance --only-failed` runs once more what failed in the last run, and nothing else.",
        (
            "How do I repeat only the failed comparisons?",
            "I fixed a bug. How do I run again what failed in the sweep?",
            "Which option leaves out everything that has passed already?",
        ),
    ),
    (
        "command",
        "`hf-ascend conformance --transformers-version X`",
        "`hf-ascend conformance --transformers-version X` compares with release X of transformers and leaves the "
        "installed release alone.",
        (
            "How do I try another release of transformers without changing my installation?",
            "Which option compares with an older release of transformers?",
            "I want to test a newer transformers, but keep mine. How?",
        ),
    ),
    (
        "command",
        "`hf-ascend conformance operators`",
        "`hf-ascend conformance operators` compares the operators with PyTorch on PyTorch's own operator database.",
        (
            "How do I compare single operators with PyTorch?",
            "Which command uses PyTorch's operator database?",
            "I changed one operator. How do I check it against PyTorch's samples?",
        ),
    ),
    (
        "command",
        "`make demo`",
        "`make demo` installs everything, gets two small models, chats, embeds sentences, and proves that PyTorch "
        "gives the same.",
        (
            "What should I run first after cloning the repository?",
            "How do I see two real models at work with one command?",
            "I have just cloned the repository. How do I get a quick impression?",
        ),
    ),
    (
        "command",
        "`make test`",
        "`make test` creates the virtual environment if need be, installs hf_ascend, and runs the tests.",
        (
            "How do I run the test suite?",
            "Which make target runs all the tests?",
            "I want to check that my change breaks nothing. What do I run?",
        ),
    ),
    (
        "command",
        "`make lint`",
        "`make lint` runs the linters, ruff and mypy, and changes nothing.",
        (
            "How do I check my code with ruff and mypy?",
            "Which make target runs the linters?",
            "How do I find style errors and wrong types before I commit?",
        ),
    ),
    (
        "command",
        "`make format`",
        "`make format` rewrites the formatting of the code with ruff.",
        (
            "How do I format the code?",
            "Which make target rewrites my files in the project's style?",
            "My lines are badly formatted. How do I repair that?",
        ),
    ),
    (
        "setting",
        "`HF_ASCEND_DEVICE`",
        "`HF_ASCEND_DEVICE` chooses the device, `cpu` or `npu`; without it an Ascend NPU is taken where one is found "
        "with CANN.",
        (
            "How do I choose the device by hand?",
            "Which environment variable forces the CPU?",
            "My machine has an NPU, but I want to use the CPU. What do I set?",
        ),
    ),
    (
        "setting",
        "`HF_ASCEND_FALLBACK=error`",
        "`HF_ASCEND_FALLBACK=error` refuses operators that would run in PyTorch on the CPU: they raise an error "
        "instead.",
        (
            "How do I make sure that no operator runs in PyTorch?",
            "Which setting turns each fallback into an error?",
            "I want an exception when an operator is not native. What do I set?",
        ),
    ),
    (
        "setting",
        "`HF_ASCEND_CACHE`",
        "`HF_ASCEND_CACHE` says where compiled code is kept; the default is `hf_ascend` in the user's cache folder.",
        (
            "How do I move the folder with the compiled code?",
            "Which environment variable says where compiled code is kept?",
            "My home folder is full. How do I keep the compiled code elsewhere?",
        ),
    ),
    (
        "setting",
        "`HF_ASCEND_KERNELS=reference`",
        "`HF_ASCEND_KERNELS=reference` computes each kernel by its reference, composed of plain operators, so float32 "
        "stays float32.",
        (
            "How do I switch the fused kernels off?",
            "Which setting keeps attention in float32 throughout?",
            "I suspect a fused kernel. How do I run without them?",
        ),
    ),
    (
        "setting",
        "`HF_ASCEND_KERNELS=emulated`",
        "`HF_ASCEND_KERNELS=emulated` runs the code for Ascend on the CPU, on operators with CANN's documented "
        "semantics.",
        (
            "How do I test the Ascend code without an NPU?",
            "Which setting emulates CANN's operators on the CPU?",
            "I have no NPU. How can I still run the Ascend path?",
        ),
    ),
    (
        "setting",
        "`HF_ASCEND_INDEPENDENT_WORKERS=1`",
        "`HF_ASCEND_INDEPENDENT_WORKERS=1` lets each of several processes train a model of its own, which is refused "
        "otherwise.",
        (
            "How do I train separate models in several processes?",
            "Which setting allows several processes to train without sharing gradients?",
            "My processes run different experiments and training is refused. What do I set?",
        ),
    ),
    (
        "setting",
        "`HF_ASCEND_TRACEBACK=1`",
        "`HF_ASCEND_TRACEBACK=1` shows the whole traceback of an error that the command line would report in one line.",
        (
            "How do I see the traceback of a failed command?",
            "Which setting shows more than one line for an error?",
            "The command prints one line of error. How do I get the details?",
        ),
    ),
    (
        "python",
        "`hf_ascend.runtime.fallbacks()`",
        "`hf_ascend.runtime.fallbacks()` tells which operators ran in PyTorch on the CPU, and how often each of them "
        "did.",
        (
            "How do I find out which operators ran in PyTorch?",
            "Which function counts the fallbacks?",
            "I think that some operators fell back to PyTorch. How do I list them?",
        ),
    ),
    (
        "python",
        "`hf_ascend.torch`",
        "`hf_ascend.torch` is the torch API on MindSpore: its tensors are `mindspore.Tensor`, its modules are "
        "`mindspore.nn.Cell`.",
        (
            "How do I use the torch API on MindSpore?",
            "Which module stands in for torch?",
            "From where do I import torch when I write code for MindSpore?",
        ),
    ),
    (
        "python",
        "`hf_ascend.kernels.report()`",
        "`hf_ascend.kernels.report()` shows for each kernel which face computed it, how often, and why a call used the "
        "reference.",
        (
            "How do I see which face of a kernel was used?",
            "Which function explains why a kernel fell back to its reference?",
            "I want to know whether the fused kernels were really called. How?",
        ),
    ),
    (
        "python",
        "`hf_ascend.kernels.use(mode)`",
        "`hf_ascend.kernels.use(mode)` chooses the kernels' mode for a `with` block: `auto`, `reference` or "
        "`emulated`.",
        (
            "How do I change the kernels' mode for a few lines only?",
            "Which context manager switches the kernels' mode?",
            "I need the reference kernels in one block of code. How do I get them?",
        ),
    ),
    (
        "python",
        "`@op`",
        "`@op` registers an operator: the decorated function becomes a function of torch and a method of its tensors.",
        (
            "How do I add an operator of my own?",
            "Which decorator registers an operator?",
            "An operator is missing and I have written it. How do I register it?",
        ),
    ),
    (
        "python",
        "`export_mindir`",
        "`export_mindir` writes a function of a model as a MindIR file, which MindSpore loads and runs as a graph.",
        (
            "How do I export a model to MindIR?",
            "Which function writes a graph file for MindSpore?",
            "I need my model as a MindIR file. What do I call?",
        ),
    ),
)

# (answer, questions); the last two questions are held out.
OTHER = (
    (
        "hf_ascend executes Hugging Face's Python on MindSpore: unmodified models, scripts and checkpoints, on the "
        "CPU and on Ascend NPUs.",
        (
            "What is hf_ascend?",
            "Describe hf_ascend in one sentence.",
            "What is the purpose of hf_ascend?",
            "What can I do with hf_ascend?",
            "Why does hf_ascend exist?",
            "What kind of project is hf_ascend?",
            "Could you introduce hf_ascend briefly?",
            "I have never heard of hf_ascend. What is it about?",
        ),
    ),
    (
        "hf_ascend changes one import: `from transformers import ...` becomes `from hf_ascend import ...`, and "
        "nothing else.",
        (
            "Which line of my code must I change to use hf_ascend?",
            "How do I import a model class from hf_ascend?",
            "What do I write instead of `from transformers import AutoModel`?",
            "How much of my code changes with hf_ascend?",
            "How do I move a script from transformers to hf_ascend?",
            "What is the smallest change to use hf_ascend?",
            "Do I have to rewrite my program for hf_ascend?",
            "How does my import line look with hf_ascend?",
        ),
    ),
    (
        "hf_ascend does not port models: it executes the code of the installed transformers on a torch API built on "
        "MindSpore.",
        (
            "Does hf_ascend contain ports of the models?",
            "Where does the code of the models come from?",
            "Does hf_ascend have its own model classes?",
            "How does hf_ascend support so many models?",
            "Were the models rewritten for MindSpore?",
            "Whose modeling code runs in hf_ascend?",
            "Did someone translate each model to MindSpore?",
            "Is there a copy of each model's code in hf_ascend?",
        ),
    ),
    (
        "An executed module is upstream's source with its imports rewritten; its file names and line numbers stay "
        "upstream's.",
        (
            "What is an executed module?",
            "What does the verdict executed mean?",
            "What happens to a module that is executed?",
            "Which source does an executed module have?",
            "Explain the verdict executed.",
            "What do tracebacks of an executed module show?",
            "Can you tell me what the verdict executed stands for?",
            "What is special about executed modules?",
        ),
    ),
    (
        "A shared module is the very object that everyone else imports; configurations, hub access and logging are "
        "shared.",
        (
            "What is a shared module?",
            "What does the verdict shared mean?",
            "Which modules are shared?",
            "Are configurations copied or shared?",
            "Explain the verdict shared.",
            "Does hf_ascend have its own configuration classes?",
            "Can you tell me what the verdict shared stands for?",
            "What is special about shared modules?",
        ),
    ),
    (
        "A replaced module is a file of hf_ascend at the same relative path under `shims`, used in place of "
        "upstream's.",
        (
            "What is a replaced module?",
            "What does the verdict replaced mean?",
            "Where are the replacements of upstream's modules?",
            "What happens when upstream's module cannot be executed?",
            "Explain the verdict replaced.",
            "What is in the folder `shims`?",
            "Can you tell me what the verdict replaced stands for?",
            "What is special about replaced modules?",
        ),
    ),
    (
        "An absent module is a part of torch for other devices or compilers: it can be imported, and says so when it "
        "is used.",
        (
            "What is an absent module?",
            "What does the verdict absent mean?",
            "Which parts of torch are absent?",
            "What happens when I use an absent module?",
            "Explain the verdict absent.",
            "Can an absent module be imported?",
            "Can you tell me what the verdict absent stands for?",
            "What is special about absent modules?",
        ),
    ),
    (
        "A fallback is an operator without an implementation on MindSpore: PyTorch computes it on the CPU, with "
        "gradients.",
        (
            "What is a fallback in hf_ascend?",
            "What happens to an operator that nobody wrote?",
            "What does it mean that an operator falls back?",
            "Who computes an operator that MindSpore lacks?",
            "Do fallbacks have gradients?",
            "What happens when an operator is not native?",
            "Can you tell me what a fallback is?",
            "Where does an operator run that has no implementation on MindSpore?",
        ),
    ),
    (
        "hf_ascend computes in float32 on the CPU by default.",
        (
            "Which dtype does hf_ascend use on the CPU?",
            "What is the default dtype on the CPU?",
            "Are models loaded in half precision on the CPU?",
            "In which precision does hf_ascend compute on the CPU?",
            "Is it float32 or bfloat16 on the CPU by default?",
            "What precision do I get on the CPU?",
            "Can you tell me the dtype that the CPU uses?",
            "With how many bits does hf_ascend compute on the CPU?",
        ),
    ),
    (
        "hf_ascend runs on Python 3.10 to 3.12 on Linux, because those are the versions that MindSpore has wheels for.",
        (
            "Which versions of Python does hf_ascend need?",
            "Does hf_ascend run on Python 3.13?",
            "Can I use hf_ascend with Python 3.11?",
            "Why does hf_ascend not support every version of Python?",
            "Which Python should I install for hf_ascend?",
            "On which operating system does hf_ascend run?",
            "Can you tell me which Python hf_ascend works with?",
            "Is my Python too old for hf_ascend?",
        ),
    ),
    (
        "The extra `hf_ascend[train]` installs what training needs besides hf_ascend, such as datasets, peft and trl.",
        (
            "What does the extra train install?",
            "How do I install what training needs?",
            "Which extra brings peft?",
            "How do I install datasets and trl with hf_ascend?",
            "What is `hf_ascend[train]`?",
            "Which extra do I need for LoRA?",
            "Can you tell me what `hf_ascend[train]` contains?",
            "I want to fine-tune a model. Which extra do I install?",
        ),
    ),
    (
        "The extra `hf_ascend[demo]` installs jinja2, which chat templates need.",
        (
            "What does the extra demo install?",
            "How do I install what chat templates need?",
            "Which extra brings jinja2?",
            "What is `hf_ascend[demo]`?",
            "My chat template fails without jinja2. What do I install?",
            "Why is there an extra called demo?",
            "Can you tell me what `hf_ascend[demo]` contains?",
            "I want to use chat templates. Which extra do I install?",
        ),
    ),
    (
        "The tests compare outputs with PyTorch to 1e-4, gradients to 1e-3, and generated tokens exactly.",
        (
            "How closely do the results match PyTorch?",
            "Which tolerance do the tests use?",
            "How are outputs compared with PyTorch?",
            "How are gradients compared with PyTorch?",
            "How exact must generated tokens be?",
            "What do the tests compare with PyTorch?",
            "Can you tell me how strict the tests are?",
            "How large may a difference to PyTorch be?",
        ),
    ),
    (
        "hf_ascend has the licence Apache-2.0, and it is not affiliated with Hugging Face or Huawei.",
        (
            "Which licence does hf_ascend have?",
            "Is hf_ascend free software?",
            "Under which terms may I use hf_ascend?",
            "Is hf_ascend made by Huawei?",
            "Is hf_ascend a product of Hugging Face?",
            "Who is behind hf_ascend, Hugging Face or Huawei?",
            "Can you tell me the licence of hf_ascend?",
            "May I use hf_ascend in my company?",
        ),
    ),
    (
        "A kernel has one signature and several faces: a reference that gives its meaning, one for Ascend, and one "
        "for the CPU.",
        (
            "What is a kernel in hf_ascend?",
            "Which faces does a kernel have?",
            "What is the reference of a kernel?",
            "What is a face of a kernel?",
            "How are kernels organised?",
            "What does a kernel consist of?",
            "Can you tell me how kernels and faces belong together?",
            "Why does a kernel have several faces?",
        ),
    ),
)


def rows() -> list[dict]:
    """The rows of the file: `messages` as chat templates take them, `split` (train or test), the `fact`'s number."""
    facts = []  # (answer, questions to train on, questions held out)
    for kind, name, answer, asked in NAMED:
        *phrasings, last = (p.format(name) for p in PHRASINGS[kind])
        facts.append((answer, [*phrasings, *asked[:-1]], [last, asked[-1]]))
    facts += [(answer, asked[:-2], asked[-2:]) for answer, asked in OTHER]
    return [
        {
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            "split": split,
            "fact": number,
        }
        for number, (answer, train, test) in enumerate(facts)
        for split, questions in (("train", train), ("test", test))
        for question in questions
    ]


def text() -> str:
    """The content of the file."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(f"{FILE}: {len(rows())} rows")
