"""The Ansible collection in exitpolicy/ansible, with real Ansible."""
