# SPDX-License-Identifier: Apache-2.0
from typing import Literal

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

import common


class Paint(BaseModel):
    """What to paint with."""

    colour: Literal["red", "green", "blue"]


def model(**more):
    return ChatOpenAI(
        base_url=common.BASE, api_key=common.KEY, model=common.MODEL, temperature=0, max_retries=0,
        **more,
    )


def streams_a_chat():
    chunks = list(model(stream_usage=True).stream(common.QUESTION))
    assert "".join(chunk.content for chunk in chunks) == common.ANSWER
    assert any(chunk.usage_metadata for chunk in chunks)


def cancels_a_stream():
    endless = model(max_tokens=common.ENDLESS_TOKENS, extra_body=common.ENDLESS)
    stream = endless.stream(common.QUESTION)
    next(stream)
    common.expect_cancelled(stream.close)


def parses_an_object():
    structured = model(max_tokens=64).with_structured_output(Paint, method="json_schema")
    assert isinstance(structured.invoke(common.QUESTION), Paint)


def calls_a_tool():
    bound = model(max_tokens=64).bind_tools([common.TOOL], tool_choice="required")
    (call,) = bound.invoke(common.QUESTION).tool_calls
    common.expect_paint(call["name"], call["args"])
    chunks = list(bound.stream(common.QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    (same,) = whole.tool_calls
    assert same["args"] == call["args"]


def embeds_texts():
    embeddings = OpenAIEmbeddings(
        base_url=common.BASE, api_key=common.KEY, model=common.MODEL,
        check_embedding_ctx_length=False,
    )
    first, second = embeddings.embed_documents(["One", "Two"])
    assert len(first) == len(second) > 100 and first != second


common.main([streams_a_chat, cancels_a_stream, parses_an_object, calls_a_tool, embeds_texts])
