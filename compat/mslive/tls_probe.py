"""Sends a request with each of azure-core's two transports and prints the results as JSON. live_tests.py runs it.

Any response means that the TLS handshake succeeded.
"""
import asyncio
import json
import os

from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AioHttpTransport, HttpRequest, RequestsTransport

ENDPOINT = os.environ["CONFAB_ENDPOINT"]


def ask():
    with RequestsTransport() as transport:
        try:
            transport.send(HttpRequest("GET", ENDPOINT))
        except ServiceRequestError as error:
            return str(error)
    return "answered"


async def ask_async():
    async with AioHttpTransport() as transport:
        try:
            await transport.send(HttpRequest("GET", ENDPOINT))
        except ServiceRequestError as error:
            return str(error)
    return "answered"


print(json.dumps({"requests": ask(), "aiohttp": asyncio.run(ask_async())}))
