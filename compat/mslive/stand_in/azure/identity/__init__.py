"""A stand-in for Microsoft's package, which looks for a signed-in user or service all over the machine and the network."""
import time

import unsigned
from azure.core.credentials import AccessToken


class DefaultAzureCredential:
    def get_token(self, *scopes, **options):
        return AccessToken(unsigned.token(), int(time.time()) + 3600)
