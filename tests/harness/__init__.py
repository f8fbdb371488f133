# SPDX-License-Identifier: GPL-2.0-or-later
"""What the loopback tests start, talk to and look at. See tests/README.md."""

from .certificates import Authority
from .exchange import ExchangeSim
from .gateway import Gateway
from .kamailio import Kamailio
from .presence import LOST, LOST_BY_RESET, MISSED, RESET, SILENT, PresenceServer
from .process import BUILD, Process, free_port, wait_until
from .sip import Notifier, Phone, Publisher, Sender, pidf
from .watch import Watch
from .worker import Worker
from .world import World
