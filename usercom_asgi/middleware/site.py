"""Everything that is the same for every response: config, hooks, snippet, cookies."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, cast

from ..core.exceptions import ConfigurationError
from ..core.hooks import MustWaitError, call_hook_now, call_hook_safely, check_hooks
from ..core.log import failed_hook
from ..page.csp import CspSources, is_nonce
from ..page.snippet import (
    callbacks_script,
    commands_script,
    forget_script,
    render,
    usercom_script,
    with_nonce,
)
from ..visitor.addresses import PublicSite
from ..visitor.consent import NO_CONSENT, NoDelivery, has_consent
from ..visitor.login import IdentifyHook, LoginTracker
from ..visitor.session import VisitorSession
from ..visitor.signed_cookies import FlashCookie, IdentityCookie

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..core.config import UserComConfig
    from ..core.envelope import Delivery
    from ..core.hooks import ConsentHook, InjectHook, NonceHook
    from .browser_commands import BrowserCommandPlan
    from .reset import ResetPlan


logger = logging.getLogger("usercom_asgi")

_NONCE_FAILED = "the response's own policy is used"


class Workspace(NamedTuple):
    """A workspace of User.com. The ``api_key`` is public: every page names it."""

    origin: str
    api_key: str


class Site:
    """Everything that is the same for every response of one middleware.

    Raises:
        ConfigurationError: A hook is not callable, or ``identify`` has no key
            to sign with.

    """

    def __init__(
        self,
        config: UserComConfig,
        *,
        identify: IdentifyHook | None = None,
        consent: ConsentHook | None = None,
        nonce: NonceHook | None = None,
        should_inject: InjectHook | None = None,
    ) -> None:
        check_hooks(identify=identify, consent=consent, nonce=nonce, should_inject=should_inject)
        if identify is not None and config.enabled and not config.secret_keys:
            raise ConfigurationError(
                "secret_keys",
                "must hold a key for identify to sign with, such as "
                "secret_keys=('<16 characters or more>',), or set USERCOM_SECRET_KEYS",
            )
        self.config = config
        self.workspace = Workspace(config.origin, config.api_key)
        self.nonce = nonce
        self.should_inject = should_inject
        self.csp_sources = CspSources.for_origin(config.origin)
        #: Whether each visitor is asked for consent. The page then depends on the answer, so that
        #: no shared cache may keep it.
        self.requires_consent = consent is not None or config.honour_gpc
        keys, domain = config.secret_keys, config.cookie_domain
        self.flash = FlashCookie(keys, domain) if keys else None
        self._identity_cookie = IdentityCookie(keys, domain) if identify else None
        self._public_site = PublicSite.parse(config.site) if config.site else None
        self._identify = identify
        self._consent = consent
        self._settings = {"apiKey": config.api_key}
        if config.widget_state is not None:
            self._settings["state"] = config.widget_state
        self._callbacks = callbacks_script(config.callbacks)
        self._anonymous_script = self._callbacks + self._usercom_script()
        #: The snippet of a page that is the same for all visitors.
        self.anonymous_snippet = render(
            self._settings, config.widget_url, after=self._anonymous_script
        )

    async def has_consent(self, scope: Scope) -> bool:
        """Return True if the visitor of this request may be tracked."""
        return await has_consent(self._consent, scope, self.config)

    def open_session(self, scope: Scope, delivery: Delivery) -> VisitorSession:
        """Return the session of a visitor who may be tracked."""
        session = VisitorSession(scope, delivery, self.config, self._public_site, self.flash)
        if self._identify is not None and self._identity_cookie is not None:
            session.login = LoginTracker(
                self._identify, self._identity_cookie, scope, session.request
            )
        return session

    def open_refused_session(self, scope: Scope, reason: str = NO_CONSENT) -> VisitorSession:
        """Return the session of a visitor who must not be tracked."""
        delivery = NoDelivery(reason, scope["path"])
        return VisitorSession(scope, delivery, self.config, self._public_site, has_consent=False)

    async def ask_nonce(self, scope: Scope) -> str | None:
        """Return the nonce of the hook; None without one, or if the hook fails."""
        if self.nonce is None:
            return None
        return _checked_nonce(await call_hook_safely(self.nonce, scope, "nonce", _NONCE_FAILED))

    def ask_nonce_now(self, scope: Scope) -> str | None:
        """Return the nonce of a hook that is not asynchronous.

        Raises:
            MustWaitError: The hook is asynchronous.

        """
        if self.nonce is None:
            return None
        try:
            return _checked_nonce(call_hook_now(self.nonce, scope))
        except MustWaitError:
            raise
        except Exception:  # a bug of the hook must not break the response
            logger.exception("The nonce hook failed: %s", _NONCE_FAILED, extra=failed_hook("nonce"))
            return None

    def is_private(
        self,
        session: VisitorSession,
        reset: ResetPlan | None,
        commands: BrowserCommandPlan | None,
    ) -> bool:
        """Return whether the page is for one visitor, so that no shared cache may keep it."""
        return (
            self.requires_consent
            or reset is not None
            or (commands is not None and bool(commands.identity))
            or bool(session.identity)
            or session.request.has_key_in_url
        )

    def snippet_for(
        self,
        session: VisitorSession,
        reset: ResetPlan | None,
        commands: BrowserCommandPlan | None,
        nonce: str | None = None,
    ) -> bytes:
        """Return the script tags for this visitor's page."""
        state, is_form = session.widget_state, session.request.is_form
        is_shared = reset is None and commands is None and not session.identity and not is_form
        if is_shared and state is None:
            return with_nonce(self.anonymous_snippet, nonce) if nonce else self.anonymous_snippet
        settings = {**session.identity, **self._settings, **({"state": state} if state else {})}
        if commands is not None:
            settings = {**(commands.identity or {}), **settings}
        scripts = self._anonymous_script
        if not is_shared:  # a page that is the same for all visitors accepts any identity
            epoch = _epoch_for(session, reset, commands)
            scripts = self._callbacks + self._usercom_script(epoch, is_answer=is_form)
        return render(
            settings,
            self.config.widget_url,
            before=forget_script(reset.new_key, reset.domains) if reset else "",
            after=scripts + (commands_script(commands.calls) if commands else ""),
            nonce=nonce,
        )

    def _usercom_script(self, epoch: str | None = None, *, is_answer: bool = False) -> str:
        config = self.config
        return usercom_script(
            config.origin, config.cookie_domain, epoch, is_answer=is_answer, bridge=config.bridge
        )


def _checked_nonce(nonce: object) -> str | None:
    if nonce is None or is_nonce(nonce):
        return cast("str | None", nonce)
    logger.error(
        "The nonce hook must return a nonce or None, got %s: the response's own policy is used",
        type(nonce).__name__,
        extra={
            "usercom_event": "hook_result_invalid",
            "usercom_hook": "nonce",
            "usercom_type": type(nonce).__name__,
        },
    )
    return None


def _epoch_for(
    session: VisitorSession, reset: ResetPlan | None, commands: BrowserCommandPlan | None
) -> str | None:
    """Return the identity that a page is made for, or None if any will do."""
    if reset is not None:
        return reset.epoch
    return session.request.epoch.id if commands or session.identity else None
