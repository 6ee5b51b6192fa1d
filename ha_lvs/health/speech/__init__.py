"""What a probe says to a server and makes of its answers: dialogues of each protocol. Pure, bytes to values."""
