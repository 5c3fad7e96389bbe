"""The one file to edit: plain values under the names CLaMP 3 published. Flags of a script override them.

python code/train_m3.py --help                 # every flag, with the value it takes from here
python code/train_clamp3_symbolic.py --help
python code/train_clamp3_audio.py --help
python code/train_clamp2.py --help
"""

EVAL_SPLIT = 0.01  # share of the training items held out (by hash of their id) if no evaluation data are named
SAVE_EVERY = 5  # keep the weights of every so many epochs; last and best are always kept

# ---- M3 pre-training ----
M3_TRAIN_FOLDERS: list[str] = []  # folders of interleaved .abc and .mtf files
M3_EVAL_FOLDERS: list[str] = []  # optional

PATCH_SIZE = 64  # characters per patch; fixed by the released weights
PATCH_LENGTH = 512  # patches per window
PATCH_NUM_LAYERS = 12  # layers of the patch encoder
TOKEN_NUM_LAYERS = 3  # layers of the character decoder
M3_HIDDEN_SIZE = 768

M3_NUM_EPOCH = 100
M3_LEARNING_RATE = 1e-4
M3_BATCH_SIZE = 16  # per process
M3_MASK_RATIO = 0.45
M3_LOAD_CKPT = True  # the same command goes on with its run; False refuses a folder that holds one
M3_WEIGHTS_PATH = ""  # a folder for the run (default: runs/m3)

# ---- CLaMP 2 ----
CLAMP2_TRAIN_JSONL = ""  # metadata, summary_en, summary_nen, filepaths
CLAMP2_EVAL_JSONL = ""  # optional

CLAMP2_NUM_EPOCH = 100
CLAMP2_LEARNING_RATE = 5e-5
CLAMP2_BATCH_SIZE = 128  # per process; published: 8 x 128
CLAMP2_LOAD_M3 = False  # True starts the symbolic tower from M3, as published; or --init m3
CLAMP2_LOAD_CKPT = True
CLAMP2_WEIGHTS_PATH = ""  # a folder for the run (default: runs/clamp2)

# ---- CLaMP 3: text with symbolic music, or with audio ----
CLAMP3_TRAIN_JSONL = ""  # one object per piece; its filepaths are relative to the JSONL's folder
CLAMP3_EVAL_JSONL = ""  # optional

CLAMP3_HIDDEN_SIZE = 768  # width of the joint space
TEXT_MODEL_NAME = "FacebookAI/xlm-roberta-base"
MAX_TEXT_LENGTH = 128

AUDIO_HIDDEN_SIZE = 768  # of a new audio tower; MERT's vectors have this width
AUDIO_NUM_LAYERS = 12
MAX_AUDIO_LENGTH = 128  # vectors of about 5 s

CLAMP3_NUM_EPOCH = 100
CLAMP3_LEARNING_RATE = 5e-5  # symbolic stages
CLAMP3_BATCH_SIZE = 128  # per process; published symbolic training: 8 x 128
CLAMP3_AUDIO_LEARNING_RATE = 1e-5  # audio stages
CLAMP3_AUDIO_BATCH_SIZE = 256  # published: 8 x 256
LOGIT_SCALE = 1.0  # constant factor on the dot products

FREEZE_TEXT = False  # True in stages 2 and 4 of SAAS
CLAMP3_LOAD_M3 = False  # True starts the symbolic tower from M3, as published; or --init m3
CLAMP3_LOAD_CKPT = True  # the same command goes on with its run; False refuses a folder that holds one
# What extract_clamp3.py takes without --model: saas, c2, a file, or the folder of a run, which training then writes to.
# Empty: the newest run below runs/, else saas. Training alone writes to runs/clamp3_symbolic and runs/clamp3_audio.
CLAMP3_WEIGHTS_PATH = ""
TEXT_DROPOUT = True  # draw fields and lines of the text anew each time
