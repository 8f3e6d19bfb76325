"""Other kernels: Debian's, booted under QEMU on this machine's own files, to run tests in them.

``kernels`` fetches them, ``initramfs`` makes what they start with, ``machine`` boots one and runs a command
in it, ``matrix`` does so for all of them; ``guest`` runs inside: the tests, and what the kernel can do.
"""
