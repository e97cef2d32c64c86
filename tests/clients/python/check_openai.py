# SPDX-License-Identifier: Apache-2.0
import math
from typing import Literal

import openai
from pydantic import BaseModel, Field

import common

client = openai.OpenAI(base_url=common.BASE, api_key=common.KEY, max_retries=0)


class Paint(BaseModel):
    colour: Literal["red", "green", "blue"]
    coats: int = Field(ge=1, le=9)


def streams_a_chat():
    with client.chat.completions.stream(
        model=common.MODEL, messages=common.MESSAGES, temperature=0
    ) as stream:
        completion = stream.get_final_completion()
    assert completion.choices[0].message.content == common.ANSWER
    assert completion.choices[0].finish_reason == "stop"


def streams_with_usage_and_logprobs():
    chunks = list(
        client.chat.completions.create(
            model=common.MODEL,
            messages=common.MESSAGES,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            logprobs=True,
            top_logprobs=2,
        )
    )
    scored = [e for c in chunks if c.choices and c.choices[0].logprobs
              for e in c.choices[0].logprobs.content]
    assert "".join(e.token for e in scored) == common.ANSWER
    assert all(len(e.top_logprobs) == 2 for e in scored)
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0


def cancels_a_stream():
    stream = client.chat.completions.create(
        model=common.MODEL,
        messages=common.MESSAGES,
        stream=True,
        max_tokens=common.ENDLESS_TOKENS,
        extra_body=common.ENDLESS,
    )
    next(iter(stream))
    common.expect_cancelled(stream.close)


def completes_with_echo():
    answer = client.completions.create(
        model=common.MODEL, prompt="One two", echo=True, logprobs=1, max_tokens=0
    )
    choice = answer.choices[0]
    assert choice.text == "One two"
    assert choice.logprobs.token_logprobs[0] is None
    assert all(p < 0 for p in choice.logprobs.token_logprobs[1:])


def streams_a_response():
    with client.responses.stream(
        model=common.MODEL, input=common.QUESTION, temperature=0
    ) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        assert text == stream.get_final_response().output_text == common.ANSWER


def embeds_texts():
    answer = client.embeddings.create(model=common.MODEL, input=["One two", "One two", "Three"])
    one, same, other = (d.embedding for d in answer.data)
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    assert math.isclose(dot(one, one), 1, rel_tol=1e-4)
    assert dot(one, same) > 0.9999 > dot(one, other)


def parses_an_object():
    completion = client.chat.completions.parse(
        model=common.MODEL,
        messages=common.MESSAGES,
        response_format=Paint,
        temperature=0,
        max_tokens=64,
    )
    assert isinstance(completion.choices[0].message.parsed, Paint)


def calls_a_tool():
    request = dict(
        model=common.MODEL, messages=common.MESSAGES, tools=[common.TOOL], tool_choice="required",
        temperature=0, max_tokens=64,
    )
    choice = client.chat.completions.create(**request).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    (call,) = choice.message.tool_calls
    common.expect_paint(call.function.name, call.function.arguments)
    with client.chat.completions.stream(**request) as stream:
        (same,) = stream.get_final_completion().choices[0].message.tool_calls
    assert same.function.arguments == call.function.arguments
    answered = [
        *common.MESSAGES,
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "done"},
    ]
    again = client.chat.completions.create(
        model=common.MODEL, messages=answered, tools=[common.TOOL], max_tokens=4
    )
    assert again.choices[0].finish_reason in ("stop", "length", "tool_calls")


def calls_a_tool_by_responses():
    tool = {"type": "function", **common.TOOL["function"]}
    response = client.responses.create(
        model=common.MODEL, input=common.QUESTION, tools=[tool], tool_choice="required",
        temperature=0, max_output_tokens=64,
    )
    (call,) = response.output
    common.expect_paint(call.name, call.arguments)


def raises_what_is_wrong():
    try:
        client.chat.completions.create(model="gpt-9", messages=common.MESSAGES)
        raise AssertionError("an unknown model was answered")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    try:
        client.chat.completions.create(model=common.MODEL, messages=common.MESSAGES, temperature=3)
        raise AssertionError("a temperature of 3 was accepted")
    except openai.BadRequestError as error:
        assert error.param == "temperature"


def lists_models():
    assert [m.id for m in client.models.list()] == [common.MODEL]


common.main([
    streams_a_chat,
    streams_with_usage_and_logprobs,
    cancels_a_stream,
    completes_with_echo,
    streams_a_response,
    embeds_texts,
    parses_an_object,
    calls_a_tool,
    calls_a_tool_by_responses,
    raises_what_is_wrong,
    lists_models,
])
