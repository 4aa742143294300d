"""What an overseer can enforce."""

from envs.certificate.certify import Certificate, certify

__all__ = ["Certificate", "certify"]
