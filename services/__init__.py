"""The processes of a deployment: each a short composition root over `bgtasks.service`."""
