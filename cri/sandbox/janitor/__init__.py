"""The janitor: finds what nobody owns any more, and removes it.

Roll-backs and recovery leave nothing when all goes well. But a server dies between two system calls, containerd is away
when something has to be undone, an operator removes a record by hand. So now and then everything that this server makes
is listed, and each thing whose owner is unknown goes.

    observing.py   lists what is there, and then who is known: what is made meanwhile has an owner already
    shims.py       how a shim is told that containerd has forgotten
    finding.py     things and owners -> leftovers, with reason and remedy (pure)
    examining.py   age, size, whether processes still use it: only of leftovers
    removal.py     carries the remedies out
    rounds.py      when all this happens

Only what is certainly this server's is removed: by path below its own directories, by the namespace path that it gave
to CNI, by its label. Everything else is reported at most.
"""
