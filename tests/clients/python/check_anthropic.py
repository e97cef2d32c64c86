# SPDX-License-Identifier: Apache-2.0
import anthropic

import common

client = anthropic.Anthropic(base_url=common.URL, api_key=common.KEY, max_retries=0)
REQUEST = {"model": common.MODEL, "max_tokens": 64, "messages": common.MESSAGES}


def answers_a_message():
    message = client.messages.create(**REQUEST, extra_body={"temperature": 0})
    assert message.content[0].text == common.ANSWER
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0


def streams_a_message():
    with client.messages.stream(**REQUEST, extra_body={"temperature": 0}) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == common.ANSWER


def cancels_a_stream():
    request = {**REQUEST, "max_tokens": common.ENDLESS_TOKENS}
    with client.messages.stream(**request, extra_body=common.ENDLESS) as stream:
        next(iter(stream.text_stream))
        common.expect_cancelled(stream.close)


def calls_a_tool():
    tool = {"name": "paint", "description": "Paints", "input_schema": common.PARAMETERS}
    request = {**REQUEST, "tools": [tool], "tool_choice": {"type": "any"}}
    message = client.messages.create(**request, extra_body={"temperature": 0})
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    common.expect_paint(call.name, call.input)
    with client.messages.stream(**request, extra_body={"temperature": 0}) as stream:
        (same,) = stream.get_final_message().content
    assert same.input == call.input


def counts_tokens():
    counted = client.messages.count_tokens(model=common.MODEL, messages=common.MESSAGES)
    assert counted.input_tokens > 20


def raises_what_is_wrong():
    try:
        client.messages.create(**{**REQUEST, "model": "claude"})
        raise AssertionError("an unknown model was answered")
    except anthropic.NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error"


common.main([
    answers_a_message,
    streams_a_message,
    cancels_a_stream,
    calls_a_tool,
    counts_tokens,
    raises_what_is_wrong,
])
