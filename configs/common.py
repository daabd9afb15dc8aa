"""Every key of the configuration, its default and its meaning.

The other files of this folder change these; `--config.KEY=VALUE` changes them once more.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.seed = 0  # every random draw of the run derives from it
    c.defense = "safeclip"  # none | augmentation | roclip | cleanclip | safeclip | safeclip_plus
    c.init_from = ""  # a run's folder, or a model of Hugging Face, open_clip or ours, to start from
    c.epochs = 32  # passes over the data, warm-up included; 0 with init_from: only evaluates
    c.batch_size = 512  # pairs in a global batch, all devices together
    c.micro_batches = 1  # parts of a batch that pass through the model in turn; one global loss
    c.loss_chunk = 0  # columns of the batch's similarities to hold at a time; 0: all
    c.max_steps = 0  # stop each stage after this many steps, to try things out; 0: no limit

    c.mesh = ConfigDict()
    c.mesh.fsdp = 1  # devices over which parameters and optimiser are split; 1: whole on each

    c.data = ConfigDict()
    c.data.source = "scenes"  # scenes, or KIND:PATH: csv webdataset arrayrecord tfds coco folder
    c.data.mix = ()  # several sources: dicts of source, weight, and keys of data; docs/data.md
    c.data.pairs = 12_000  # scenes: how many; others: a random choice of so many, 0 for all
    c.data.part = (0.0, 1.0)  # pairs between two shares, in an order shuffled by data.seed
    c.data.seed = placeholder(int)  # of scenes, parts and choices; None: the run's seed
    c.data.leave_out = ""  # scores.csv of an audit of the same pairs: flagged ones do not train
    c.data.image_column = ""  # csv, tsv, parquet: of image paths; empty: image, path, filepath …
    c.data.caption_column = ""  # column, .json field or feature; empty: caption, title, text …
    c.data.label_column = ""  # column or .json field with the class name; empty: no labels
    c.data.images = ""  # coco: folder of the images; empty: that of the .json file
    c.data.split = "train"  # of a tfds data set
    c.data.data_dir = ""  # where tfds data sets were prepared; empty: its default
    c.data.cache_gib = 1.0  # keep decoded images in memory if they take no more than this
    c.data.threads = placeholder(int)  # batches that a process makes at once; None: by its cores
    c.data.workers = placeholder(int)  # processes that decode; 0: threads do; None: by the cores
    c.data.max_skipped_share = 0.1  # stop if more of the records cannot be used
    c.data.wordnet = "auto"  # folder with WordNet for synonyms | auto: look for one | empty: none
    c.data.tokenizer = "auto"  # train | hub name or folder | auto: scenes train, others CLIP's
    c.data.vocab_size = 49_408  # largest vocabulary of a trained tokenizer
    c.data.context = 77  # tokens in a caption, start and end included

    c.model = ConfigDict()
    c.model.preset = "vit_b32"  # vit_b32 | rn50 | tiny | others in docs/models.md
    c.model.image_size = 224  # side in pixels
    c.model.activation = ""  # gelu | quick_gelu (OpenAI's weights) | empty: the preset's, gelu
    c.model.pool = ""  # of a ViT: class_token | mean | empty: the preset's
    c.model.mean = (0.48145466, 0.4578275, 0.40821073)  # of each colour in [0, 1]: CLIP's
    c.model.std = (0.26862954, 0.26130258, 0.27577711)  # of each colour in [0, 1]: CLIP's
    c.model.remat = "none"  # what is computed again for less memory: none | products | blocks
    c.model.scan = False  # compile one block a tower and repeat it: compiles faster
    c.model.dtype = "float32"  # of the computation: float32 | bfloat16

    c.optimizer = ConfigDict()
    c.optimizer.learning_rate = 5e-4  # peak of the schedule
    c.optimizer.warmup_pairs = 5_120_000  # linear warm-up over this many pairs, then cosine
    c.optimizer.b1 = 0.9  # AdamW
    c.optimizer.b2 = 0.999  # AdamW
    c.optimizer.weight_decay = 0.1  # on matrices; not on norms, biases and the logit scale
    c.optimizer.max_skipped_steps = 20  # non-finite steps in a row before the run goes back
    c.optimizer.rollbacks = 1  # times that it goes back to the last good checkpoint; then it stops

    c.augment = ConfigDict()
    c.augment.crop_area = (0.08, 1.0)  # share of the image in a random crop
    c.augment.jitter = 0.8  # probability of colour jitter
    c.augment.grayscale = 0.2  # probability of grayscale
    c.augment.blur = 0.5  # probability of Gaussian blur

    c.unimodal = ConfigDict()
    c.unimodal.bank_size = 65_536  # past embeddings in each bank (also RoCLIP's captions)
    c.unimodal.split_banks = False  # over the devices, as a batch; or whole on each: no exchange

    c.roclip = ConfigDict()
    c.roclip.every = 2  # epochs between those with captions from the bank

    c.cleanclip = ConfigDict()
    c.cleanclip.unimodal_weight = 1.0  # of the unimodal losses beside the CLIP loss

    c.safeclip = ConfigDict()
    c.safeclip.score = ""  # of pairs, for the pools; empty: score.kind
    c.safeclip.score_batch = 0  # pairs that are scored together; 0: score.batch_size
    c.safeclip.scout_epochs = 0  # CLIP on everything, forgotten once they have shown the fence
    c.safeclip.scout_learning_rate = 2.5e-5  # of the scouting epochs
    c.safeclip.scout_share = 0.85  # of the data, best scores of the scouts: trains until the pools
    c.safeclip.warmup_epochs = 5  # unimodal only
    c.safeclip.slow_epochs = 1  # CLIP at the slow rate, on everything or what the scouts leave
    c.safeclip.slow_learning_rate = 5e-6  # of the slow epochs
    c.safeclip.rise_epochs = 0.0  # with pools, in which the scheduled rate still rises; 0: as it is
    c.safeclip.threshold = 0.9  # P(safe) of the first safe pool
    c.safeclip.growth = 0.01  # share of the data by which the safe pool grows an epoch
    c.safeclip.cap = 0.85  # largest share of the data in the safe pool
    c.safeclip.adaptive = False  # whether each epoch's share of P(safe) > threshold caps it too
    c.safeclip.likely = 0.0  # score that counts to this share, too; 0: none
    c.safeclip.first_cap = 0.85  # largest share in the first safe pool
    c.safeclip.rule = "monotone"  # in the score; or paper: plain responsibilities
    c.safeclip.momentum = 0.0  # of the running mean of scores over epochs; 0: as published
    c.safeclip.augment = True  # whether the CLIP stages augment too
    c.safeclip.train_risky = True  # whether the risky pool trains (unimodal) or rests
    c.safeclip.fence = 0.0  # Tukey's, of images' distances from others: none beyond is safe; 0: off
    c.safeclip.fill = False  # whether a second pass over safe pairs makes up for the risky ones

    c.safeclip_plus = c.safeclip.copy_and_resolve_references()  # the same keys, other values
    c.safeclip_plus.score = "typical"
    c.safeclip_plus.score_batch = 1024  # in fewer a wrong caption may have no better image
    c.safeclip_plus.scout_epochs = 1
    c.safeclip_plus.warmup_epochs = 0
    c.safeclip_plus.rise_epochs = 1.0
    c.safeclip_plus.cap = 0.99
    c.safeclip_plus.threshold = 0.5
    c.safeclip_plus.adaptive = True
    c.safeclip_plus.likely = 0.75  # a quarter of ln 1024 below what the caption lets expect
    c.safeclip_plus.momentum = 0.5
    c.safeclip_plus.train_risky = False
    c.safeclip_plus.fence = 1.5
    c.safeclip_plus.fill = True

    c.score = ConfigDict()
    c.score.kind = "cosine"  # cosine | relative | typical, docs/safeclip_plus.md
    c.score.view = "plain"  # the image as it is: plain | a flipped, cropped view: augmented
    c.score.batch_size = 1024  # pairs in a scoring batch, all devices together
    c.score.reuse = False  # after the first pools, pairs keep the score they had as they trained

    c.attack = ConfigDict()
    c.attack.kind = "backdoor"  # backdoor | label_consistent | targeted
    c.attack.trigger = "badnets"  # badnets | blended | sig | wanet | nashville, or several with +
    c.attack.rate = 0.0  # share of the pairs that are poisoned; 0: none, the trigger still tested
    c.attack.count = 0  # so many poisoned pairs instead of a share
    c.attack.target = "heart"  # class to be taken for; empty in targeted: drawn for each image
    c.attack.images = 24  # targeted: held-out images that are to be taken for another class
    c.attack.seed = placeholder(int)  # None: the run's seed
    c.attack.captions = "data"  # data | templates | nearest | both | surrogate: docs/attacks.md
    c.attack.surrogate = ""  # a trained model whose similarities choose poisons: as init_from
    c.attack.victims = ""  # backdoor: only images of the class that their caption names; empty: any
    c.attack.copies = 1  # backdoor: poisoned pairs that show the same image

    c.attack.badnets = ConfigDict()
    c.attack.badnets.pattern = "checkerboard"  # checkerboard | noise | white
    c.attack.badnets.position = "bottom_right"  # a corner | four_corners | center | random
    c.attack.badnets.size = 0.0714  # side of the patch over the image's: 16 of 224 pixels
    c.attack.badnets.margin = 0.0  # distance to the edges, same unit

    c.attack.blended = ConfigDict()
    c.attack.blended.alpha = 0.2  # weight of the pattern
    c.attack.blended.pattern = "noise"  # noise | path of an image

    c.attack.sig = ConfigDict()
    c.attack.sig.delta = 60.0  # amplitude of the sinusoid, in 0 to 255
    c.attack.sig.frequency = 6.0  # waves over the image's width

    c.attack.wanet = ConfigDict()
    c.attack.wanet.grid = 4  # points of the random field a side
    c.attack.wanet.strength = 0.5  # mean shift, twice, in pixels of an image of 32

    c.attack.nashville = ConfigDict()
    c.attack.nashville.strength = 1.0  # of the colour curve

    c.evaluate = ConfigDict()
    c.evaluate.every = 0  # epochs between evaluations; 0: at the end only
    c.evaluate.source = "scenes"  # held-out images: a preset, or as data.source; empty: none
    c.evaluate.pairs = 2_000  # at most so many; 0: all
    c.evaluate.split = "test"  # of scenes or a tfds data set; tune on validation
    c.evaluate.part = (0.0, 1.0)  # as data.part: (0.9, 1.0) beside a data.part of (0.0, 0.9)
    c.evaluate.prompts = "templates"  # with the class name | captions of training | FILE.json
    c.evaluate.tasks = ("zero_shot", "attack")  # also retrieval, linear_probe, knn
    c.evaluate.learn = ""  # probes learn from: KIND:PATH; empty: the source's training split
    c.evaluate.also = ()  # further data sets, by preset or KIND:PATH: ("cifar10", "food101")

    c.profile_at = 0  # trace five steps from this one on, into profile/ for xprof; 0: none
    c.log_every = 20  # steps between lines of metrics
    c.checkpoint_minutes = 30.0  # between checkpoints inside an epoch; every epoch ends with one
    c.keep_checkpoints = 2  # newest ones
    c.keep_every_epochs = 0  # also, for good, that at the end of every so many epochs; 0: none
    return c
