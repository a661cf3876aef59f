"""Theory that several rules share: accountants of privacy, and how an update is protected."""
