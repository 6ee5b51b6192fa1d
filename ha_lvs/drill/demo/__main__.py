"""`python -m ha_lvs.drill.demo`: see `show`."""

from ha_lvs.drill.demo.show import main

main()
