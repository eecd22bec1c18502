"""The descriptor pool of headrace's own messages, apart from the default pool that clients' code uses."""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
