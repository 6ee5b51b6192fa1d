"""What is measured in a lab and by what: load generators, the kernels of the directors, events, figures.

load        HTTP: long-lived connections (`load_ring`) and a stream of requests (`load_stream`, `http_client`)
names       a name for a target: clients with DNS caches of their own, filled by the process `resolver`
udp_stream  one datagram a millisecond, to an `echo` behind the virtual IP
processes   both generators as seen by who runs them
watch       who holds the virtual IP, which roles are claimed, which servers the holder sends to
proc_tables what `/proc/net/ip_vs` and `/proc/net/ip_vs_conn` say
events      one JSON object a line: how the measuring side tells the other what happens
tally       pure: what a stream of requests amounts to
"""
