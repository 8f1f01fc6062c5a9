"""A model behind OpenAI's API: scheduler (one thread, one batch), protocol (JSON), server (HTTP), page."""
