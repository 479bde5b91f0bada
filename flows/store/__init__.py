"""Stage outputs by what decided them: here, shared between machines, and the room they take."""
