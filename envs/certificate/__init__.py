"""Certificates: what an overseer can enforce in a world, computed before any training."""

from envs.certificate.certify import Certificate, certify

__all__ = ["Certificate", "certify"]
