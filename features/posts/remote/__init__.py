"""Images that are links: fetched only when the user asks for it, never from private addresses, and kept on request."""
