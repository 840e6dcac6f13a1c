import azure.identity


class DefaultAzureCredential:
    async def get_token(self, *scopes, **options):
        return azure.identity.DefaultAzureCredential().get_token(*scopes)
