"""Asking deployments that fail until they are asked again."""

import time

from .clients import until


def ask(gateway, model, unique, number):
    """One of several requests of a test, each with a text of its own."""
    return gateway.chat(model, f"{unique} {number}", headers={"x-mock-id": unique})


def is_left_alone(response):
    """Whether the gateway answered in the place of a deployment that is left alone: with when to come back."""
    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_available_backend"), response.text
    assert response.headers["x-tollgate-attempts"] == "0"
    return int(response.headers["retry-after"])


def until_asked_again(gateway, model, unique):
    """Asks until the first deployment is asked once more: all answers, and for how many ms it was left alone.

    By the provider's clock, from one request to the next, so a pause of the machine can only make it longer.
    """

    def times():
        return [entry["received_at_ms"] for entry in gateway.received(unique) if not entry["body"]["model"].endswith("else")]

    before, answers = len(times()), []

    def again():
        time.sleep(0.1)
        answers.append(ask(gateway, model, unique, f"{before} and then {len(answers)}"))
        return len(times()) > before

    until("it is asked again", again, within=60)
    return answers, times()[before] - times()[before - 1]
