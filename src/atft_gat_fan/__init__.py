"""ATFT-GAT-FAN: multi-horizon ranking of stock returns, trained, proved, run and watched."""
