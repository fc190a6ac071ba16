"""Whether this installation is up: for load balancers and monitors, which learn no more than that."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request, Response

from mainspring.edges.api.models import Told
from mainspring.edges.api.security import public
from mainspring.errors import StoreUnavailable

router = APIRouter(tags=["health"])


class Health(Told):
    """Up or down."""

    status: Literal["up", "down"]


@router.get("/health/live", summary="Whether this process answers")
@public
async def live() -> Health:
    """Say that this process answers."""
    return Health(status="up")


@router.get("/health", name="health", summary="Whether the installation is up", responses={503: {"model": Health}})
@router.get("/health/ready", summary="Whether the installation can take work", responses={503: {"model": Health}})
@public
def ready(request: Request, response: Response) -> Health:
    """Say whether the database answers."""
    try:
        request.app.state.application.reading.queues()
    except StoreUnavailable:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Health(status="down")
    return Health(status="up")
