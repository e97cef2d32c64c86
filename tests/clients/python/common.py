# SPDX-License-Identifier: Apache-2.0
"""What the checks of the Python clients share. Each check prints one line of JSON."""
import json
import sys
import time
import traceback
import urllib.request

URL = sys.argv[1]
BASE = URL + "/v1"
KEY = "secret"
MODEL = "recall"
QUESTION = (
    "Ada keeps the lamp. The secret code for the harbour gate is: 5273107. Ben rows.\n"
    "What is the secret code for the harbour gate?"
)
ANSWER = "The secret code for the harbour gate is: 5273107."
MESSAGES = [{"role": "user", "content": QUESTION}]
# A tool in the form of chat completions. Required calls fit its parameters whatever the model knows of tools.
PARAMETERS = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "paint", "description": "Paints", "parameters": PARAMETERS, "strict": True},
}
# Goes on for many seconds unless somebody ends it.
ENDLESS = {"ignore_eos": True}
ENDLESS_TOKENS = 8000


def running():
    with urllib.request.urlopen(URL + "/health") as response:
        return json.load(response)["running"]


def expect_cancelled(leave):
    """The server notices that the client left, long before the answer would have ended."""
    assert running() == 1
    leave()
    deadline = time.monotonic() + 3
    while running() > 0:
        assert time.monotonic() < deadline, "the server still runs what nobody reads"
        time.sleep(0.02)


def expect_paint(name, arguments):
    """A call of the tool above."""
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    assert name == "paint" and arguments["colour"] in ("red", "green", "blue"), (name, arguments)


def main(checks):
    for check in checks:
        error = None
        try:
            check()
        except BaseException:
            error = traceback.format_exc()
        name = check.__name__.replace("_", " ")
        print(json.dumps({"name": name, "error": error}), flush=True)
