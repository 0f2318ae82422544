"""The gateway: the chat API of Jeeves. It speaks to models over HTTP only and never imports torch."""
