"""What `twisted.plugin` finds of the examples, when their folder is on PYTHONPATH.

A package of yours puts such a file into `twisted/plugins/`, without an `__init__.py` there;
each object at the top that provides `IPlugin` is a plug-in.
"""

from no_lottery import NoLottery
from token_checker import TokenCheckerFactory

no_lottery = NoLottery()
tokens = TokenCheckerFactory()
