"""The README's code runs as it stands."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def snippet(containing):
    (found,) = (code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if containing in code)
    return found


def test_the_opt_in_lines_opt_a_config_in(tmp_path):
    from minmax_plugin.mmgen.check import check_config
    from minmax_plugin.mmgen.config import load_config
    from minmax_plugin.openmmlab import minmax_settings

    base = Path(__file__).parents[1] / "configs" / "mnist01_gda.py"
    (tmp_path / "config.py").write_text(snippet("MinMaxHook").replace("your_config.py", str(base)))
    cfg = load_config(tmp_path / "config.py")
    check_config(cfg)
    assert minmax_settings(cfg) == {"type": "MinMaxHook"}
    assert cfg.optimizer.generator.lr == 2e-4
