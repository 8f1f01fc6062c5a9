"""A model behind OpenAI's API.

schema                       what is asked and answered, as pydantic models and OpenAPI
conversation, tools, asking  a request into prompts and settings
requests, prefixes, scheduler  one thread, one batch
replies                      pieces into JSON
guard, server, running, pages  HTTP
"""
