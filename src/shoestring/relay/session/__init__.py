"""One session, pure: frames in, effects out."""
