# What every experiment here shares. One iteration of the toolkit is one discriminator step; a cycle (the
# paper's iteration: one generator proposal and its k ascent steps) is train_cfg.disc_steps of them.
custom_imports = dict(imports=["minmax_plugin.mmgen"], allow_failed_imports=False)

runner = dict(type="DynamicIterBasedRunner", is_dynamic_ddp=False, pass_training_status=True)
workflow = [("train", 10000)]
lr_config = None
log_config = dict(interval=100, hooks=[dict(type="TextLoggerHook")])
log_level = "INFO"
dist_params = dict(backend="nccl")
load_from = None
resume_from = None
cudnn_benchmark = False
