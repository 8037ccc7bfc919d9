"""A chat template is code that came with a model: it is tried in a process of its own, under limits, before it is used.

Jinja's sandbox keeps a template from the machine, but not from building a text of gigabytes or from looping for hours.
"""

import datetime
import json
import subprocess
import sys
from typing import Any

from tailora.errors import ModelError

_SECONDS, _BYTES, _CHARACTERS = 5, 1 << 30, 1 << 20
_TRIAL = [
    {"role": "user", "content": "What is 1 + 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "And 2 + 2?"},
]
_DIRECTIVES = (*"aAbBcdDeFHIjmMpSTuUVwWxXyY", "-d", "-m", "-H", "-I", "-j")
# Runs with jinja2 alone. It knows the tag and the functions that transformers offers to templates.
_RENDER = """
import json, resource, sys
from jinja2 import TemplateError, ext, nodes, sandbox
seconds, memory = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

class Generation(ext.Extension):
    tags = {"generation"}
    def parse(self, parser):
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(["name:endgeneration"], drop_needle=True)).set_lineno(line)

def refuse(message):
    raise TemplateError(message)

asked = json.load(sys.stdin)
environment = sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols])
environment.filters["tojson"] = lambda value, **keys: json.dumps(value, ensure_ascii=False)
environment.globals.update(raise_exception=refuse, strftime_now=lambda form: "2026-01-01")
try:
    text = environment.from_string(asked["template"]).render(
        messages=asked["turns"], add_generation_prompt=True, tools=None, documents=None, **asked["tokens"])
    print(len(text))
except MemoryError:
    raise
except Exception:  # what a template refuses, or cannot say, is found where it is used
    print(0)
"""


def chat_template(tokenizer: Any) -> str | None:
    """Return the chat template that a tokenizer uses for plain turns; None where it has none.

    Raises:
        ModelError: when it has several, none of which is its default.
    """
    held = getattr(tokenizer, "chat_template", None)
    if not held:
        return None
    if isinstance(held, dict) and "default" not in held:
        raise ModelError(
            f"the tokenizer has the chat templates {', '.join(sorted(held))}, and none of them is called default. "
            "Name one so in its files, or remove them to use the plain template."
        )
    return str(tokenizer.get_chat_template())


def on_day(template: str | None, day: datetime.date) -> str | None:
    """Return `template` with what it asks of the clock (`strftime_now`) answered by the beginning of `day`.

    The answer is a macro of that name, since transformers lets no function of ours into a template.
    """
    if template is None or "strftime_now" not in template:
        return template
    moment = datetime.datetime.combine(day, datetime.time())
    answers = [("%%", "\ue000")] + [(f"%{letter}", moment.strftime(f"%{letter}")) for letter in _DIRECTIVES]
    filled = "|".join(
        f"replace({json.dumps(form, ensure_ascii=False)}, {json.dumps(said, ensure_ascii=False)})"
        for form, said in [*answers, ("\ue000", "%")]
    )
    return f"{{% macro strftime_now(form) %}}{{{{ form|{filled} }}}}{{% endmacro %}}\n{template}"


def try_template(template: str, special_tokens: dict[str, Any]) -> None:
    """Render a short conversation with a chat template in a process with limits on time and memory.

    Raises:
        ModelError: when it takes more than 5 seconds or 1 GiB, or writes more than a million characters.
    """
    asked = {"template": template, "turns": _TRIAL, "tokens": special_tokens}
    command = [sys.executable, "-I", "-c", _RENDER, str(_SECONDS), str(_BYTES)]
    try:
        done = subprocess.run(
            command, input=json.dumps(asked, default=str), capture_output=True, text=True, timeout=4 * _SECONDS
        )
    except subprocess.TimeoutExpired:
        fault = f"takes more than {_SECONDS} s"
    else:
        if done.returncode == 0 and int(done.stdout) <= _CHARACTERS:
            return
        memory = "MemoryError" in done.stderr
        fault = f"needs more than {_SECONDS} s or {_BYTES >> 30} GiB" if done.returncode < 0 or memory else "breaks"
        fault = f"writes {int(done.stdout):,} characters" if done.returncode == 0 else fault
    raise ModelError(
        f"the chat template of the tokenizer {fault} for three short turns, so it is broken or hostile, and not used. "
        "Remove chat_template from the tokenizer's files to use the plain template, or choose another base model."
    )
