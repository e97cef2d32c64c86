# SPDX-License-Identifier: Apache-2.0
from typing import Literal

import instructor
import openai
from pydantic import BaseModel

import common

plain = openai.OpenAI(base_url=common.BASE, api_key=common.KEY, max_retries=0)


class Paint(BaseModel):
    colour: Literal["red", "green", "blue"]
    glossy: bool


def ask(mode, **more):
    client = instructor.from_openai(plain, mode=mode)
    return client.chat.completions.create(
        model=common.MODEL, messages=common.MESSAGES, response_model=Paint, temperature=0,
        max_tokens=64, max_retries=0, **more,
    )


def makes_an_object_by_json_schema():
    assert isinstance(ask(instructor.Mode.JSON_SCHEMA), Paint)


def makes_an_object_by_a_tool():
    assert isinstance(ask(instructor.Mode.TOOLS), Paint)


def streams_an_object_piece_by_piece():
    client = instructor.from_openai(plain, mode=instructor.Mode.JSON_SCHEMA)
    parts = list(client.chat.completions.create_partial(
        model=common.MODEL, messages=common.MESSAGES, response_model=Paint, temperature=0,
        max_tokens=64, max_retries=0,
    ))
    assert parts[-1].colour in ("red", "green", "blue") and isinstance(parts[-1].glossy, bool)


common.main([
    makes_an_object_by_json_schema,
    makes_an_object_by_a_tool,
    streams_an_object_piece_by_piece,
])
