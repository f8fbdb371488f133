# SPDX-License-Identifier: GPL-2.0-or-later
"""The proxy in which the module is tested: Kamailio, or with PX_HOST=opensips OpenSIPS."""

import os

from .opensips import OpenSips
from .proxy import Proxy

HOST = os.environ.get("PX_HOST", "kamailio")
Host = {"kamailio": Proxy, "opensips": OpenSips}[HOST]
