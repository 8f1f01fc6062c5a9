"""What is asked and answered, as pydantic models, and the published description that is made of them."""
