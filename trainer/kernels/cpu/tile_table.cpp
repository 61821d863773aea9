#include "trainer/kernels/cpu/gemm_tiles.h"
#include "trainer/kernels/cpu/row_tiles.h"

namespace finetuned::kernels::FINETUNED_ISA {

const Tiles kTiles{
    .lanes = kLanes,
    .panel_width = kPanel,
    .tile_rows = kTileRows,
    .pack = pack_panels,
    .gemm = gemm_block,
    .few_rows = few_rows,
    .low_rank_project = low_rank_project,
    .rmsnorm = rmsnorm,
    .rmsnorm_apply = rmsnorm_apply,
    .rmsnorm_backward = rmsnorm_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .rotate = rotate,
    .softmax_chunk = softmax_chunk,
    .exp_shifted = exp_shifted,
    .softmax_backward = softmax_backward,
    .dot = dot,
    .scale = scale,
    .add_scaled = add_scaled,
    .adamw = adamw,
};

}  // namespace finetuned::kernels::FINETUNED_ISA
