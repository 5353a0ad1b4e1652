"""What is the same for every response of a site: configuration, hooks, snippet, cookies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.exceptions import ConfigurationError
from ..core.hooks import check_hooks
from ..page.csp import CspSources
from ..page.snippet import (
    callbacks_script,
    commands_script,
    forget_script,
    render,
    usercom_script,
    with_nonce,
)
from ..visitor.consent import has_consent
from ..visitor.login import IdentifyHook, Login
from ..visitor.signed_cookies import FlashCookie, IdentityCookie

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..core.config import UserComConfig
    from ..core.hooks import ConsentHook, InjectHook, NonceHook
    from ..visitor.visitor import Visitor
    from .browser_commands import BrowserCommandPlan
    from .reset import ResetPlan


class Site:
    """Everything that is the same for every response.

    Raises:
        ConfigurationError: A hook is not callable, or ``identify`` has no key to sign with.

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
        if identify is not None and not config.secret_keys:
            raise ConfigurationError(
                "secret_keys",
                "must hold a key for identify to sign with, such as "
                "secret_keys=('<16 characters or more>',)",
            )
        self.config = config
        #: The origin and the app key: two middlewares with the same pair are one site.
        self.workspace = (config.origin, config.api_key)
        self.nonce = nonce
        self.should_inject = should_inject
        self.csp_sources = CspSources.for_origin(config.origin)
        #: Whether the snippet depends on who asks, so that no shared cache may keep the page.
        self.requires_consent = consent is not None or config.honour_gpc
        keys, domain = config.secret_keys, config.cookie_domain
        self.flash = FlashCookie(keys, domain) if keys else None
        self._identity_cookie = IdentityCookie(keys, domain) if identify else None
        self._identify = identify
        self._consent = consent
        self._settings = {"apiKey": config.api_key}
        if config.widget_state is not None:
            self._settings["state"] = config.widget_state
        self._callbacks = callbacks_script(config.callbacks)
        self._anonymous_script = self._callbacks + self._usercom_script()
        self._anonymous_snippet = render(
            self._settings, config.widget_url, after=self._anonymous_script
        )

    async def has_consent(self, scope: Scope) -> bool:
        """Return True if the visitor of this request may be tracked."""
        return await has_consent(self._consent, scope, self.config)

    def login_for(self, scope: Scope) -> Login | None:
        """Return the login check of a request, or None without an ``identify`` hook."""
        if self._identify is None or self._identity_cookie is None:
            return None
        return Login(
            self._identify,
            self._identity_cookie,
            scope,
            rotate=self.config.rotate_on_login,
            cuts=self.config.truncate_strings,
        )

    def snippet_for(
        self,
        visitor: Visitor,
        reset: ResetPlan | None,
        commands: BrowserCommandPlan | None,
        nonce: str | None = None,
    ) -> bytes:
        """Return the script tags for this visitor's page."""
        state = visitor.widget_state
        is_shared = (
            reset is None and commands is None and not visitor.attributes and not visitor.is_form
        )
        if is_shared and state is None:
            return with_nonce(self._anonymous_snippet, nonce) if nonce else self._anonymous_snippet
        settings = {**visitor.attributes, **self._settings, **({"state": state} if state else {})}
        if commands is not None:
            settings = {**(commands.introduction or {}), **settings}
        scripts = self._anonymous_script
        if not is_shared:  # a page that is the same for all accepts the identity that it finds
            epoch = _epoch_for(visitor, reset, commands)
            scripts = self._callbacks + self._usercom_script(epoch, is_answer=visitor.is_form)
        return render(
            settings,
            self.config.widget_url,
            before=forget_script(reset.new_key, reset.homes) if reset else "",
            after=scripts + (commands_script(commands.commands) if commands else ""),
            nonce=nonce,
        )

    def _usercom_script(self, epoch: str | None = None, *, is_answer: bool = False) -> str:
        config = self.config
        return usercom_script(
            config.origin, config.cookie_domain, epoch, is_answer=is_answer, bridge=config.bridge
        )


def _epoch_for(
    visitor: Visitor, reset: ResetPlan | None, commands: BrowserCommandPlan | None
) -> str | None:
    """Return the identity that a page is made for, or None if any will do."""
    if reset is not None:
        return reset.epoch
    return visitor.epoch.id if commands or visitor.attributes else None
