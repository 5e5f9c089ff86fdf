from tests.fs.harness import Device, Program


async def test_smoke(device: Device, program: Program) -> None:
    await program.write("a", b"hello")
    assert await program.read("a") == b"hello"
    await program.mkdir("d")
    await program.write("d/b", b"x" * 100_000)
    await program.write("d/c", b"x" * 10_000)
    assert await program.read("d/b") == b"x" * 100_000
    await device.fs.hasher.drain()
    assert await program.read("d/b") == b"x" * 100_000
    assert await program.read("d/c") == b"x" * 10_000
    await program.rename("a", "d/b")
    assert await program.tree() == {"d": None, "d/b": b"hello", "d/c": b"x" * 10_000}
    await program.rename("d/b", "d/b~")
    await program.write("d/b", b"new")
    await program.symlink("x/y", "s")
    await program.link("s", "s2")
    await program.append("d/b", b"more")
    await program.truncate("d/b", 5)
    assert await program.tree() == {"d": None, "d/b": b"newmo", "d/b~": b"hello", "d/c": b"x" * 10_000, "s": b"-> x/y", "s2": b"-> x/y"}
    print(await program.stat("d"), await program.stat("s"))
    print(device.fs.census())
