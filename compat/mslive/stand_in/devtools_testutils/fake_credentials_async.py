class AsyncFakeCredential:
    """For tests that play recordings: imported and never used."""
