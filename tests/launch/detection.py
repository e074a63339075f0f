"""Ask repo2docker itself, in the folder of a checkout, what it would build; runs where jupyter-repo2docker is installed."""

from repo2docker.app import Repo2Docker

PACKS = [kind("base image") for kind in Repo2Docker().buildpacks]
pack = next(pack for pack in PACKS if pack.detect())
pack.platform = "linux/amd64"
dockerfile = pack.render({})

found = {
    "build pack": type(pack).__name__,
    "folder": pack.binder_dir,
    "Python": pack.python_version,
    "before the repository is copied": list(pack.get_preassemble_script_files()),
    "installs the repository": [script for _, script in pack.get_assemble_scripts()],
    "post-build": pack.get_post_build_scripts(),
    "start": pack.get_start_script(),
    "the kernel has an environment of its own": pack.separate_kernel_env,
}
expected = {
    "build pack": "PythonBuildPack",
    "folder": "binder",
    "Python": "3.11",
    "before the repository is copied": ["binder/requirements.txt"],  # so a commit does not install all anew
    "installs the repository": [],  # postBuild does, without dependencies
    "post-build": ["binder/postBuild"],
    "start": "${REPO_DIR}/binder/start",
    "the kernel has an environment of its own": False,
}
for name, value in found.items():
    print(f"   {name}: {value}" + ("" if value == expected[name] else f", expected {expected[name]}"))
assert found == expected
assert all(f"binder/{name}" in dockerfile for name in ("requirements.txt", "postBuild", "start"))
