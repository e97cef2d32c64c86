# SPDX-License-Identifier: Apache-2.0
import json
import os

# Otherwise it fetches a price list.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

import common

WHERE = {
    "model": f"openai/{common.MODEL}",
    "api_base": common.BASE,
    "api_key": common.KEY,
    "num_retries": 0,
}


def streams_a_chat():
    stream = litellm.completion(**WHERE, messages=common.MESSAGES, temperature=0, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == common.ANSWER


def cancels_a_stream():
    stream = litellm.completion(
        **WHERE, messages=common.MESSAGES, stream=True, max_tokens=common.ENDLESS_TOKENS,
        extra_body=common.ENDLESS,
    )
    next(iter(stream))
    common.expect_cancelled(stream.completion_stream.close)


def parses_an_object():
    answer = litellm.completion(
        **WHERE, messages=common.MESSAGES, temperature=0, max_tokens=64,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "paint", "schema": common.PARAMETERS, "strict": True},
        },
    )
    assert json.loads(answer.choices[0].message.content)["colour"] in ("red", "green", "blue")


def calls_a_tool():
    answer = litellm.completion(
        **WHERE, messages=common.MESSAGES, temperature=0, max_tokens=64, tools=[common.TOOL],
        tool_choice="required",
    )
    (call,) = answer.choices[0].message.tool_calls
    common.expect_paint(call.function.name, call.function.arguments)


def embeds_texts():
    answer = litellm.embedding(**WHERE, input=["One", "Two"], encoding_format="float")
    assert len(answer.data) == 2 and len(answer.data[0]["embedding"]) > 100


common.main([streams_a_chat, cancels_a_stream, parses_an_object, calls_a_tool, embeds_texts])
