"""LangChain's OpenAI model on the gateway."""

import openai
import pydantic
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from support.clients import limited_key
from support.gateway import KEY


class get_weather(pydantic.BaseModel):
    """The weather of a city."""

    city: str
    days: int


@pytest.fixture
def model(gateway, monkeypatch):
    monkeypatch.setenv("LANGSMITH_TRACING", "false")

    def make(name="mock", url=gateway.url, **options):
        settings = {"base_url": f"{url}/v1", "api_key": KEY, "max_retries": 0, "stream_usage": True, **options}
        return ChatOpenAI(model=name, **settings)

    return make


def test_an_answer_comes_with_its_usage(model, provider, unique):
    answer = model().invoke(unique)
    direct = provider.chat.completions.create(model="mock", messages=[{"role": "user", "content": unique}])
    assert answer.content == direct.choices[0].message.content
    assert answer.usage_metadata["total_tokens"] == direct.usage.total_tokens


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_comes_with_its_usage_if_that_was_asked_for(model, gateway, unique, usage):
    pieces = list(model("mock+split=3+text=multibyte+tokens=40", stream_usage=usage).stream(unique))
    text = "".join(piece.content for piece in pieces)
    assert unique in text and len(text.encode()) == 160 and len(pieces) >= 40
    used = [piece.usage_metadata["output_tokens"] for piece in pieces if piece.usage_metadata]
    assert used == ([40] if usage else [])


def test_a_tool_loop_runs_to_its_end(model, gateway, unique):
    with_tools = model("mock+tool").bind_tools([get_weather])
    pieces = list(with_tools.stream(unique))
    first = sum(pieces[1:], pieces[0])
    (call,) = first.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": unique, "days": 1})
    second = with_tools.invoke([HumanMessage(unique), first, ToolMessage("Rain.", tool_call_id=call["id"])])
    assert second.content and not second.tool_calls
    assert [entry["status"] for entry in gateway.received(unique)] == [200, 200]


def test_structured_output_by_function_calling(model, unique):
    wanted = model("mock+tool").with_structured_output(get_weather, method="function_calling")
    assert wanted.invoke(unique) == get_weather(city=unique, days=1)


def test_a_stream_that_is_cut_raises(model, unique):
    with pytest.raises(openai.APIError, match="incomplete"):
        list(model("mock+cut=3").stream(unique))


def test_what_the_gateway_has_retried_is_not_retried_again(model, gateway, unique):
    with pytest.raises(openai.InternalServerError):
        model("mock+status=500", max_retries=1).invoke(unique)
    assert len(gateway.received(unique)) == 3


def test_errors_are_the_clients(model, limited_gateway, unique):
    with pytest.raises(openai.AuthenticationError):
        model(api_key="wrong").invoke(unique)
    limited = model(url=limited_gateway.url, api_key=limited_key("langchain"), max_completion_tokens=2_000)
    with pytest.raises(openai.RateLimitError):
        limited.invoke(unique)
    assert not limited_gateway.received(unique)
