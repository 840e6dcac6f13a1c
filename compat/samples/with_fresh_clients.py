"""Runs Microsoft's asynchronous thread sample with a new ChatClient wherever it would reopen a closed one.

The file is imported unchanged; only its class attribute _chat_client is replaced. See README.md.
"""
import asyncio
import importlib.util
import sys

from azure.communication.chat.aio import ChatClient, CommunicationTokenCredential

spec = importlib.util.spec_from_file_location("sample", sys.argv[1])
sample = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sample)

sample.ChatThreadClientSamplesAsync._chat_client = property(
    lambda self: ChatClient(self.endpoint, CommunicationTokenCredential(self.token))
)
asyncio.run(sample.main())
