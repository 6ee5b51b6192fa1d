"""Every decoder of bytes that others have made, under noise: `test_decoders` by hypothesis, `target` by libFuzzer."""
