class FakeTokenCredential:
    """For tests that play recordings: imported and never used."""
