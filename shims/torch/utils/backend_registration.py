"""torch.utils.backend_registration: the accelerator's name."""

_privateuse1_backend_name = "npu"
