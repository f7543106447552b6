"""One prepared check of a GPU: training, planning, memory, agreement with the CPU, copies back to the host."""
